// Package privilege knows which capabilities of capabilities(7) each feature of a run
// takes, and gives up those that are not needed any more: for good, on every thread.
//
// A run needs most of them once, to load and attach its programs. What Linux asks for
// afterwards depends on its version, so it is tried (Without) instead of looked up.
package privilege
