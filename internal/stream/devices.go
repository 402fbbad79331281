package stream

import (
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// Devices returns the names of the interfaces of all network namespaces that are
// traced. They are kept for devicesFresh, as an interface may be renamed, and its
// index may go to another one only after a long time. It belongs to one output, and
// must not be used by several goroutines at once.
type Devices struct {
	each  func(read func(proc string, inode uint32) error) error
	names map[deviceKey]string
	read  time.Time     // when the names were read
	took  time.Duration // how long that took
}

type deviceKey struct{ netns, index uint32 }

const (
	devicesFresh = time.Second           // how long a name stands
	devicesRetry = 50 * time.Millisecond // before another one is looked for
	devicesRest  = 50                    // times what reading took, likewise
)

// NewDevices returns the names in the namespaces that a function visits, as
// Stream.EachNamespace does.
func NewDevices(each func(read func(proc string, inode uint32) error) error) *Devices {
	return &Devices{each: each}
}

// Device returns the name of an interface, or "" if it is not known. Only sockets
// that are bound to one ask for it.
func (d *Devices) Device(netns, index uint32) string {
	name, known := d.names[deviceKey{netns, index}]
	age, least := time.Since(d.read), devicesFresh
	if !known {
		least = devicesRetry
	}
	if age > max(least, devicesRest*d.took) {
		d.refresh()
		name = d.names[deviceKey{netns, index}]
	}
	return name
}

// refresh reads the names. Those of a namespace that cannot be read are not known.
func (d *Devices) refresh() {
	start := time.Now()
	d.names = make(map[deviceKey]string)
	_ = d.each(func(_ string, inode uint32) error {
		names, err := snapshot.ReadInterfaceNames()
		if err != nil {
			return nil //nolint:nilerr // the other namespaces are read
		}
		for index, name := range names {
			d.names[deviceKey{inode, index}] = name
		}
		return nil
	})
	d.read = time.Now()
	d.took = d.read.Sub(start)
}
