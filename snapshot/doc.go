// Package snapshot reads what is there now: typed rows for every view of the
// network stack (sockets, their owners, routes, interfaces, multicast groups,
// statistics, masqueraded connections).
//
// Readers take the root of the proc file system to read from, so that tests
// can feed them fixtures; parsers take bytes. The package knows nothing of
// flags, writers or BPF event streams.
package snapshot
