// Package tracer says what happens: it loads and attaches the BPF programs,
// reads their ring buffer, decodes the events and keeps the table of TCP
// sockets (snapshot and events merged). It says which hooks it has and what
// is inexact without the others. It knows nothing of flags and writers.
package tracer
