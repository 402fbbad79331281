package peer

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Port is the port that peers are connected to.
const Port = 80

// Answer is what a peer does on a segment.
type Answer func(c *Conn, s Segment)

// Script is what a peer does on each kind of segment. A nil answer is that of a
// peer in order: it accepts, acknowledges, and closes when the other side has.
type Script struct {
	SYN  Answer // the first segment of a connection
	Data Answer // a segment with data
	FIN  Answer // a segment with FIN, after Data if it has data too
}

// Peer is a host behind the device. Its methods may be called from any goroutine;
// the answers of its script run with the lock of the device held, as do functions
// given to Do.
type Peer struct {
	Addr netip.Addr

	net    *Net
	script Script
	conns  map[[2]uint16]*Conn // by port of the namespace and port of the peer
	last   *Conn
	log    []Segment
}

// Conn is a connection as a peer sees it.
type Conn struct {
	peer     *Peer
	us, them netip.AddrPort // the namespace's side, and the peer's
	Seq      uint32         // the next to send
	Ack      uint32         // the next to expect
	Window   uint16
}

// New adds a peer.
func (n *Net) New(script Script) *Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	number := len(n.peers) + 1
	p := &Peer{
		Addr: netip.AddrFrom4([4]byte{10, 100 + n.number, 1 + byte(number>>8), byte(number)}),
		net:  n, conns: make(map[[2]uint16]*Conn),
	}
	p.setScript(script)
	n.peers[p.Addr] = p
	return p
}

// Script changes what the peer does from now on.
func (p *Peer) Script(script Script) { p.Do(func() { p.setScript(script) }) }

func (p *Peer) setScript(s Script) {
	if s.SYN == nil {
		s.SYN = Accept
	}
	if s.Data == nil {
		s.Data = Acknowledge
	}
	if s.FIN == nil {
		s.FIN = Close
	}
	p.script = s
}

// Do runs f between two segments.
func (p *Peer) Do(f func()) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	f()
}

// Send sends a segment on the last connection.
func (p *Peer) Send(flags Flags, data string) {
	p.Do(func() { p.last.Send(flags, data) })
}

// Connect sends a SYN from a port of the peer to one of the namespace.
func (p *Peer) Connect(from, to uint16) {
	p.Do(func() {
		c := p.conn(to, from)
		c.Send(SYN, "")
	})
}

// SetWindow sets the window that the peer advertises from now on.
func (p *Peer) SetWindow(w uint16) { p.Do(func() { p.last.Window = w }) }

func (p *Peer) conn(us, them uint16) *Conn {
	key := [2]uint16{us, them}
	c := p.conns[key]
	if c == nil {
		c = &Conn{
			peer: p, us: netip.AddrPortFrom(p.net.Local, us), them: netip.AddrPortFrom(p.Addr, them),
			Seq: 1000, Window: 65535,
		}
		p.conns[key] = c
	}
	p.last = c
	return c
}

// receive takes a segment of the namespace.
func (p *Peer) receive(s Segment) {
	p.log = append(p.log, s)
	c := p.conn(s.Src.Port(), s.Dst.Port())
	switch {
	case s.Flags.Has(RST):
	case s.Flags.Has(SYN | ACK): // the answer to Connect
		c.Ack = s.Seq + 1
		p.script.SYN(c, s)
	case s.Flags.Has(SYN):
		c.Ack = s.Seq + 1
		p.script.SYN(c, s)
	default:
		if len(s.Data) > 0 {
			p.script.Data(c, s)
		}
		if s.Flags.Has(FIN) {
			p.script.FIN(c, s)
		}
	}
}

// Send sends a segment with the next sequence number. An ACK acknowledges all that
// was taken in.
func (c *Conn) Send(flags Flags, data string) {
	s := Segment{Src: c.them, Dst: c.us, Seq: c.Seq, Flags: flags, Window: c.Window, Data: []byte(data)}
	if flags.Has(ACK) {
		s.Ack = c.Ack
	}
	c.Seq += uint32(len(data))
	if flags&(SYN|FIN) != 0 {
		c.Seq++
	}
	c.peer.log = append(c.peer.log, s)
	c.peer.net.write(s.packet())
}

// take moves what is expected next past a segment that is.
func (c *Conn) take(s Segment) {
	if s.Seq != c.Ack && s.Seq+uint32(len(s.Data)) != c.Ack {
		return
	}
	c.Ack = s.Seq + uint32(len(s.Data))
	if s.Flags.Has(FIN) {
		c.Ack++
	}
}

// Accept answers a SYN, and a SYN with ACK, as TCP does.
func Accept(c *Conn, s Segment) {
	if s.Flags.Has(ACK) {
		c.Send(ACK, "")
		return
	}
	c.Seq = 1000 // also for a SYN that came again
	c.Send(SYN|ACK, "")
}

// Acknowledge takes a segment in.
func Acknowledge(c *Conn, s Segment) {
	c.take(s)
	c.Send(ACK, "")
}

// Close takes a FIN in and sends one.
func Close(c *Conn, s Segment) {
	c.take(s)
	c.Send(FIN|ACK, "")
}

// Silence does nothing.
func Silence(*Conn, Segment) {}

// Reset refuses a SYN or resets a connection.
func Reset(c *Conn, s Segment) {
	if s.Flags.Has(SYN) {
		c.Seq = 0
	}
	c.Send(RST|ACK, "")
}

// icmpDelay is long enough for the call that sent the segment to give up the
// socket: an ICMP error that finds it in use is kept as a soft error only
// (tcp_v4_err, net/ipv4/tcp_ipv4.c).
const icmpDelay = 30 * time.Millisecond

// Unreachable answers with an ICMP destination unreachable.
func Unreachable(code uint8) Answer {
	return func(c *Conn, s Segment) {
		time.AfterFunc(icmpDelay, func() {
			c.peer.Do(func() { c.peer.net.write(unreachable(code, s)) })
		})
	}
}

// Sides of a connection, as records name them.
const (
	Us   = "local"
	Them = "remote"
)

// side says who sent a segment.
func (p *Peer) side(s Segment) string {
	if s.Src.Addr() == p.Addr {
		return Them
	}
	return Us
}

// FirstToClose says who sent the first FIN or RST; empty: nobody.
func (p *Peer) FirstToClose() (side string) {
	p.Do(func() {
		for _, s := range p.log {
			if s.Flags&(FIN|RST) != 0 {
				side = p.side(s)
				return
			}
		}
	})
	return side
}

// Count gives the number of segments of a side that have all the flags.
func (p *Peer) Count(side string, flags Flags) (n int) {
	p.Do(func() {
		for _, s := range p.log {
			if p.side(s) == side && s.Flags.Has(flags) {
				n++
			}
		}
	})
	return n
}

// Bytes gives how many bytes of data a side sent, each counted once, on the last
// connection.
func (p *Peer) Bytes(side string) int {
	seen := make(map[uint32]bool)
	p.Do(func() {
		for _, s := range p.log {
			if p.side(s) != side {
				continue
			}
			for i := range s.Data {
				seen[s.Seq+uint32(i)] = true
			}
		}
	})
	return len(seen)
}

// Await waits until a side has sent n segments with all the flags.
func (p *Peer) Await(side string, flags Flags, n int) error {
	for range 2000 {
		if p.Count(side, flags) >= n {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("%v: no %d segments with flags %#x from %s in 10 s: %s", p.Addr, n, flags, side, p.Log())
}

// Log gives the segments in a few words, for messages.
func (p *Peer) Log() string {
	var text strings.Builder
	p.Do(func() {
		for _, s := range p.log {
			fmt.Fprintf(&text, " %s:%#02x/%d", p.side(s), s.Flags, len(s.Data))
		}
	})
	return text.String()
}

// Acknowledge sends an ACK on the last connection.
func (p *Peer) Acknowledge() { p.Send(ACK, "") }
