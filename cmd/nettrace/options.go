package main

import (
	"slices"
	"time"
)

// options is a command line, read. Tests compare it; nothing is started by
// making it.
type options struct {
	// Views. netstat counts these options: more than one in all is an error.
	route, interfaces, statistics, masquerade int
	groups                                    bool

	// Kinds of sockets.
	tcp, sctp, udp, udplite, raw bool
	l2cap, rfcomm                bool

	// families are the canonical names of the address families in the order
	// given, repeats included: -r shows one table for each.
	families []string

	all, listening                            bool
	numericHosts, numericPorts, numericUsers  bool
	symbolic, wide, timers, programs, context bool
	verbose, continuous                       bool
	cache, fib                                bool
	extend                                    int // each -e counts

	// Nettrace's own options.
	json       bool
	count      int           // rounds or changes to show; 0: no end
	duration   time.Duration // time to run; 0: no end
	doctor     bool
	requireBPF bool
	resolve    bool
	netns      string // name, path or pid of a network namespace; empty: the current one
	allNetns   bool
	ringSize   int           // bytes of the BPF ring buffer; 0: the default
	hostName   string        // for the "host" key of records
	interval   time.Duration // between reconciliations; 0: the default
	hooks      []string      // variants of BPF hooks that tests force
	procRoot   string        // where the proc file system is
	source     string        // "proc" or "bpf"; empty: whichever is faster
}

// inFamily reports whether the family was named.
func (o *options) inFamily(name string) bool { return slices.Contains(o.families, name) }

// anyProtocol reports whether a protocol of the Internet family was named.
func (o *options) anyProtocol() bool { return o.tcp || o.sctp || o.udp || o.udplite || o.raw }

// view is one of the five things netstat shows. The first that applies wins.
type view int

const (
	viewSockets view = iota // and groups, which netstat prints among them
	viewMasquerade
	viewStatistics
	viewRoutes
	viewInterfaces
)

// view says which view runs.
func (o *options) view() (view, error) {
	if o.interfaces+o.route+o.masquerade+o.statistics > 1 {
		return 0, &usageError{}
	}
	switch {
	case o.masquerade > 0:
		return viewMasquerade, nil
	case o.statistics > 0:
		return viewStatistics, nil
	case o.route > 0:
		return viewRoutes, nil
	case o.interfaces > 0:
		return viewInterfaces, nil
	}
	return viewSockets, nil
}

// selection says which parts of the socket view run, in netstat's order, and
// how their absence is told.
type selection struct {
	explicit bool // something was named; else the default view with all parts
	implied  bool // the protocols follow from a family: their absence is not told
	v4, v6   bool // which files of the Internet protocols are read

	header                       bool // title of the Internet tables
	tcp, sctp, udp, udplite, raw bool
	groups                       bool
	unix, ipx, ax25, x25         bool
	netrom, rose, bluetooth      bool
}

// selectSockets applies netstat's rules of which part runs.
func (o *options) selectSockets() selection {
	inet, inet6 := o.inFamily(familyInet), o.inFamily(familyInet6)
	var s selection
	s.tcp, s.sctp, s.udp, s.udplite, s.raw = o.tcp, o.sctp, o.udp, o.udplite, o.raw
	if (inet || inet6) && !o.anyProtocol() {
		s.tcp, s.sctp, s.udp, s.udplite, s.raw = true, true, true, true, true
		s.implied = true
	}
	s.header = s.tcp || s.sctp || s.udp || s.udplite || s.raw
	if (s.header || o.groups) && !inet && !inet6 {
		inet, inet6 = true, true
	}
	s.groups = o.groups
	s.unix, s.ipx = o.inFamily(familyUnix), o.inFamily(familyIPX)
	s.ax25, s.x25 = o.inFamily(familyAX25), o.inFamily(familyX25)
	s.netrom, s.rose = o.inFamily(familyNetrom), o.inFamily(familyRose)
	s.bluetooth = o.inFamily(familyBluetooth) || o.l2cap || o.rfcomm

	s.explicit = s.header || s.groups || s.unix || s.ipx || s.ax25 || s.x25 ||
		s.netrom || s.rose || s.bluetooth
	if !s.explicit {
		s.selectAll()
		inet, inet6 = true, true
	}
	s.v4, s.v6 = inet, inet6
	return s
}

// selectAll selects the default view: all but groups, which must be asked for,
// and bluetooth, whose absence is an error.
func (s *selection) selectAll() {
	s.header = true
	s.tcp, s.sctp, s.udp, s.udplite, s.raw = true, true, true, true, true
	s.unix, s.ipx, s.ax25, s.x25, s.netrom, s.rose = true, true, true, true, true, true
}

// streams reports whether -c means the stream of TCP changes: TCP sockets are
// among what is shown.
func (o *options) streams() bool {
	v, err := o.view()
	return err == nil && v == viewSockets && o.continuous && o.selectSockets().tcp
}
