// Package filter is the language of --filter: that of ss as it really is, and what
// nettrace adds to it (docs/filter.md).
//
// Parse reads an expression and finds every error that can be found without asking
// anybody. Filter.Bind looks up the names in it, once, and makes a Program, which
// decides records without allocation, and the condition that the kernel's side can
// decide (Program.Necessary). The canonical form (Filter.String) is read again as the
// same filter.
package filter
