// Package tracer reports what happens: it loads and attaches the BPF programs, reads
// their ring buffer, decodes the events and applies them to the table of TCP
// sockets (package table), whose changes it hands over to a Handler. Scans of the
// kernel's own table make the initial table and mend what events missed. Where BPF
// cannot be used, a Poller does the same from /proc, less exactly.
//
// It says which hooks it has and what is inexact without the others. It knows
// nothing of flags and writers.
package tracer
