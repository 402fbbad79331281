package view

import "github.com/nettrace/nettrace/snapshot"

// devices has the names of interfaces for the records of one round. It reads them
// when the first one is asked for.
type devices struct{ names map[uint32]string }

// Device returns the name of an interface, or "" if it is not known.
func (d *devices) Device(_, index uint32) string {
	if d.names == nil {
		d.names, _ = snapshot.ReadInterfaceNames() // not known where that is refused
	}
	return d.names[index]
}
