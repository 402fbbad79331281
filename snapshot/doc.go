// Package snapshot reads what is there now: typed rows for every view of the
// network stack (sockets, their owners, routes, interfaces, multicast groups,
// statistics, masqueraded connections).
//
// Sockets are read in /proc, or from sock_diag: Diag asks it, DiagTable has the rows
// of /proc from it. Netlink is spoken by a few lines of this package (netlink.go): a
// library would bring the runtime's poller and a goroutine to a program that is over
// in two milliseconds.
//
// Readers take the root of the proc file system to read from, so that tests
// can feed them fixtures; parsers take bytes. The package knows nothing of
// flags, writers or BPF event streams.
package snapshot
