// Package table merges what the kernel reports of TCP sockets, events as they
// happen and rows of its own table, into one table, and reports what changes. It
// reads nothing itself: events, rows, the time and processes are handed in, so
// that the same input leads to the same changes, except for the ids.
//
// Events are applied in the order in which the kernel sent them. Some questions
// only silence answers: Settle has to be called whenever all events up to now
// were applied. Rows are applied between BeginScan and EndScan, among the events
// of that time. Times are nanoseconds of CLOCK_MONOTONIC.
package table
