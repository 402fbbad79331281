package output

import (
	"net/netip"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// Socket appends the "socket" record of a row of the Internet socket views, as
// it was at the time at.
func (w *NDJSON) Socket(at time.Time, s *snapshot.Socket) {
	w.beginAt("socket", at)
	w.word(`,"transport":`, s.Protocol.String())
	w.endpoints(s)
	// Only TCP has states; of the others a socket is connected or it is not.
	if s.Protocol == snapshot.TCP || s.State == snapshot.Established {
		w.state(`,"state":`, s.State)
	}
	if s.Netns != 0 {
		w.uint(`,"netns":`, uint64(s.Netns))
	}
	if s.UID != 0 || s.Inode != 0 { // see owner
		w.user(s.UID)
	}
	w.queues(s)
	if s.Inode != 0 {
		w.uint(`,"inode":`, s.Inode)
	}
	w.end()
}

// endpoints adds the addresses of a row. A raw socket has no ports: where other
// sockets have the local one, its row holds the number of its IP protocol.
func (w *NDJSON) endpoints(s *snapshot.Socket) {
	if s.Protocol != snapshot.Raw {
		w.addresses(s.Local, s.Remote)
		return
	}
	w.addresses(netip.AddrPortFrom(s.Local.Addr(), 0), s.Remote)
	w.uint(`,"ip_protocol":`, uint64(s.Local.Port()))
}
