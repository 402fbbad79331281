package output

import (
	"net/netip"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// Socket appends the "socket" record of a row of the Internet socket views, as
// it was at the time at. The owners may be nil: not known.
func (w socketRecords) Socket(at time.Time, s *snapshot.Socket, owners *snapshot.Owners) {
	w.beginAt("socket", at)
	w.word(`,"transport":`, s.Protocol.String())
	w.endpoints(s)
	// Only TCP has states; of the others a socket is connected or it is not.
	if s.Protocol == snapshot.TCP || s.State == snapshot.Established {
		w.state(`,"state":`, s.State)
	}
	w.queues(s)
	w.file(s.UID, s.Inode)
	w.holders(s.Inode, owners)
	w.end()
}

// endpoints adds the addresses of a row. A raw socket has no ports: where other
// sockets have the local one, its row holds the number of its IP protocol.
func (w socketRecords) endpoints(s *snapshot.Socket) {
	if s.Protocol != snapshot.Raw {
		w.addresses(s.Local, s.Remote, w.device(s.Netns, s.Device))
		return
	}
	w.addresses(netip.AddrPortFrom(s.Local.Addr(), 0), s.Remote, device{})
	w.uint(`,"ip_protocol":`, uint64(s.Local.Port()))
}

// queues adds the columns of netstat's table that are numbers of the socket.
func (w socketRecords) queues(s *snapshot.Socket) {
	w.queue(`,"recv_q":`, s.RecvQ)
	w.queue(`,"send_q":`, s.SendQ)
	if s.Timer != 0 && s.Expires <= ticksMax {
		w.timer(s)
	}
	w.uint(`,"retransmits":`, uint64(s.Retrans))
	w.int(`,"probes":`, int64(int32(s.Timeout)))
}

// timer adds the running timer under netstat's name for it.
func (w socketRecords) timer(s *snapshot.Socket) {
	w.key(`,"timer":`)
	w.buf = append(w.buf, '"')
	w.buf = appendTimerKind(w.buf, s.Protocol == snapshot.TCP, uint32(s.Timer))
	w.buf = append(w.buf, '"')
	w.ticks(`,"timer_ms":`, s.Expires)
}
