// Package sink takes finished lines to the world: to stdout, files and sockets. Between
// who makes lines and a Target stands a queue of bounded size, with a goroutine that
// writes: who makes lines never waits for who takes them. What does not fit is counted,
// and told as soon as something can be written.
package sink
