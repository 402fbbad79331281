package view

import (
	"errors"
	"io/fs"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
)

// interfacePrinter prints interfaces in one form.
type interfacePrinter interface {
	title(firstRound bool)
	iface(*snapshot.Interface)
}

// interfaces shows the interfaces of the namespace. One that goes away meanwhile
// ends the view; without /proc/net/dev it warns and shows what it can.
func (s *session) interfaces() error {
	source := s.env.Interfaces
	var addrs4 map[string][]netip.Prefix
	if source == nil {
		if s.opts.JSON { // the text has one address
			addrs4, _ = snapshot.ReadInterfaceAddrs4() // what is refused is absent
		}
		kernel, err := snapshot.NewIoctl()
		if err != nil {
			return err
		}
		defer func() { _ = kernel.Close() }()
		source = kernel
	}
	p := s.interfacePrinter()
	p.title(s.rounds == 0)
	for i, err := range snapshot.Interfaces(s.env.Proc, source) {
		switch {
		case err != nil:
			if err := s.interfaceFailure(err); err != nil {
				return err
			}
		case s.opts.All || i.Flags&snapshot.InterfaceUp != 0:
			i.Addrs4 = addrs4[i.Name]
			p.iface(&i)
		}
	}
	return nil
}

// interfaceFailure reports what could not be asked; some of it is only a
// warning.
func (s *session) interfaceFailure(err error) error {
	var gone *snapshot.InterfaceError
	var file *fs.PathError
	switch {
	case errors.As(err, &gone):
		text := reason(gone.Err)
		if errors.Is(err, unix.ENODEV) {
			text = "Device not found"
		}
		s.warn("%s: error fetching interface information: %s", gone.Name, text)
		return s.fail(StatusFailed, "missing interface information: %s", reason(gone.Err))
	case errors.As(err, &file):
		s.warn("Warning: cannot open /proc/net/dev (%s). Limited output.", reason(err))
		return nil
	}
	return s.fail(StatusFailed, "SIOCGIFCONF: %s", reason(err))
}
