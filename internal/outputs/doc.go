// Package outputs is where the lines of a run go: it reads what --output says, opens
// each place before anything is traced, makes a chain of handlers for each, opens them
// anew on request, and hands over what waits at the end.
package outputs
