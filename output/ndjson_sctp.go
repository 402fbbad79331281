package output

import (
	"net/netip"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// SCTPEndpoint appends the "socket" record of an SCTP endpoint. The owners may
// be nil: not known.
func (w socketRecords) SCTPEndpoint(at time.Time, e *snapshot.SCTPEndpoint, owners *snapshot.Owners) {
	w.beginAt("socket", at)
	w.word(`,"transport":`, "sctp")
	w.sctpAddrs(e.Local, nil)
	w.port(`,"local_port":`, e.Port)
	w.sctpState(e.State)
	w.file(e.UID, e.Inode)
	w.holders(e.Inode, owners)
	w.end()
}

// SCTPAssociation appends the "socket" record of an SCTP association. The
// owners may be nil: not known.
func (w socketRecords) SCTPAssociation(at time.Time, a *snapshot.SCTPAssociation, owners *snapshot.Owners) {
	w.beginAt("socket", at)
	w.word(`,"transport":`, "sctp")
	w.sctpAddrs(a.Local, a.Remote)
	w.port(`,"local_port":`, a.LPort)
	w.port(`,"remote_port":`, a.RPort)
	w.sctpState(a.State)
	w.queue(`,"recv_q":`, uint64(a.RecvQ))
	w.queue(`,"send_q":`, uint64(a.SendQ))
	w.file(a.UID, a.Inode)
	w.holders(a.Inode, owners)
	w.end()
}

// sctpAddrs adds the first address of each side, and all if there are several.
func (w socketRecords) sctpAddrs(local, remote []netip.Addr) {
	if len(local) > 0 {
		w.family(local[0])
		w.addr(`,"local_addr":`, local[0])
	}
	if len(remote) > 0 {
		w.addr(`,"remote_addr":`, remote[0])
	}
	w.addrs(`,"local_addrs":`, local)
	w.addrs(`,"remote_addrs":`, remote)
}

// addrs adds a list of several addresses, as many as fit.
func (w socketRecords) addrs(key string, list []netip.Addr) {
	if len(list) < 2 {
		return
	}
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.String()
	}
	w.array(key, words, `"`, listMax)
}

// sctpState adds the state of the socket, for which the kernel has TCP's
// numbers.
func (w socketRecords) sctpState(n int32) {
	if n > 0 && n <= int32(snapshot.Closing) {
		w.state(`,"state":`, snapshot.State(n))
	}
}
