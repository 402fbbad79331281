// Package manual has the texts about the program that are not about one option: the
// manual page, and the examples of the help.
package manual

import _ "embed" // the page is a file of its own

// Page is the manual page, man(7). A comment in it stands where the options go.
//
//go:embed nettrace.8
var Page string

// Examples are the first lines of the help: what is asked for most.
//
//go:embed examples.txt
var Examples string
