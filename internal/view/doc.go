// Package view shows what netstat shows. It holds netstat's rules: which tables
// a view has, where their rows are read, what the absence of a table means, and
// with which status a run ends.
//
// Each view has one driver, which reads rows of snapshot and hands those that
// are shown to a printer. A printer writes them in one form: netstat's text or
// records. The rows become bytes in package output.
package view
