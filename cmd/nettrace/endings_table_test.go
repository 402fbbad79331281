package main

import (
	"errors"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/peer"
)

// The states as TCP_INFO has them (include/net/tcp_states.h).
const (
	stateEstablished = 1
	stateFinWait2    = 5
	stateCloseWait   = 8
	stateClosing     = 11
)

// The codes of ICMP destination unreachable (RFC 792, RFC 1812).
const (
	icmpNet      = 0
	icmpHost     = 1
	icmpProtocol = 2
	icmpPort     = 3
	icmpAdmin    = 13
)

// What only these hooks see: errors of connect that leave no transition behind, and
// what ends a timewait socket.
const (
	connectHook  = "tcp_v4_connect"
	timewaitHook = "tcp_timewait_state_process"
	noHook       = "none does"
)

// The histories that many endings share.
const (
	walkNoAnswer  = "SYN_SENT>CLOSE"
	walkCut       = "SYN_SENT>ESTABLISHED>CLOSE"
	walkCutWait1  = "SYN_SENT>ESTABLISHED>FIN_WAIT1>CLOSE"
	walkCutWait2  = "SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>CLOSE"
	walkCutPassed = "SYN_SENT>ESTABLISHED>CLOSE_WAIT>CLOSE"
	walkPassive   = "SYN_SENT>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSE"
)

// silentData is a peer that answers nothing once the connection stands.
var silentData = peer.Script{Data: peer.Silence, FIN: peer.Silence}

// connectOnly connects and keeps what came of it.
func connectOnly(s *stage) { s.keep(s.connect(s.socket())) }

// connectLater connects without waiting and takes the error by SO_ERROR.
func connectLater(s *stage) { s.soError(s.begin()) }

// loseData writes to a peer that does not acknowledge, and waits for the end.
func loseData(s *stage) {
	fd := s.open()
	s.userTimeout(fd)
	s.write(fd)
	s.readAll(fd)
}

// loseFIN does the same with a FIN.
func loseFIN(s *stage) {
	fd := s.open()
	s.userTimeout(fd)
	s.shutdown(fd)
	s.readAll(fd)
}

// orphanFIN closes and waits until the kernel gives up.
func orphanFIN(s *stage) {
	s.close(s.open())
	s.gone()
}

// halfClosed has closed its half and waits for the other.
func halfClosed(s *stage) int {
	fd := s.open()
	s.shutdown(fd)
	s.state(fd, stateFinWait2)
	return fd
}

// passive has been closed by the peer.
func passive(s *stage) int {
	fd := s.open()
	s.peer.Send(peer.FIN|peer.ACK, "")
	s.state(fd, stateCloseWait)
	return fd
}

// acknowledgeFIN is a peer that acknowledges a FIN and sends none.
var acknowledgeFIN = peer.Script{FIN: peer.Acknowledge}

// swallowFIN takes a FIN in without a word: what the peer sends next acknowledges it.
var swallowFIN = peer.Script{FIN: peer.Silence}

// pendingError has an error that did not end it and that nobody took: an ICMP error
// is one with IP_RECVERR (tcp_v4_err).
func pendingError(s *stage) int {
	s.peer.Script(peer.Script{Data: peer.Unreachable(icmpHost)})
	fd := s.open()
	s.option(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	s.write(fd)
	for {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		if n, err := unix.Poll(poll, 20000); err == nil && n == 1 && poll[0].Revents&unix.POLLERR != 0 {
			break
		} else if err == nil {
			s.check(errors.New("no error is pending after 20 s"))
		}
	}
	s.peer.Script(peer.Script{})
	s.check(s.peer.Await(peer.Them, peer.ACK, 2))
	time.Sleep(20 * time.Millisecond)
	return fd
}

func route(kind string) func(*stage) {
	return func(s *stage) {
		s.ip("route add " + kind + " " + s.to.Addr().String() + "/32")
		connectOnly(s)
	}
}

var endings = []ending{
	// Connects that fail.
	{
		name: "refused", script: peer.Script{SYN: peer.Reset}, play: connectOnly,
		outcome: "refused", errno: "ECONNREFUSED", closedBy: "remote", walk: walkNoAnswer,
	},
	{
		name: "refused, SO_ERROR", script: peer.Script{SYN: peer.Reset}, play: connectLater,
		outcome: "refused", errno: "ECONNREFUSED", closedBy: "remote", walk: walkNoAnswer,
	},
	{
		name: "no answer", script: peer.Script{SYN: peer.Silence}, play: connectOnly,
		outcome: "timeout_connect", errno: "ETIMEDOUT", walk: walkNoAnswer,
	},
	{
		name: "no answer, SO_ERROR", script: peer.Script{SYN: peer.Silence}, play: connectLater,
		outcome: "timeout_connect", errno: "ETIMEDOUT", walk: walkNoAnswer,
	},
	{
		name: "no answer within the user's timeout", script: peer.Script{SYN: peer.Silence},
		play: func(s *stage) {
			fd := s.socket()
			s.userTimeout(fd)
			s.keep(s.connect(fd))
		},
		outcome: "timeout_connect", errno: "ETIMEDOUT", walk: walkNoAnswer,
	},
	{
		name: "network unreachable", script: peer.Script{SYN: peer.Unreachable(icmpNet)}, play: connectOnly,
		outcome: "unreachable", errno: "ENETUNREACH", walk: walkNoAnswer,
	},
	{
		name: "host unreachable", script: peer.Script{SYN: peer.Unreachable(icmpHost)}, play: connectOnly,
		outcome: "unreachable", errno: "EHOSTUNREACH", walk: walkNoAnswer,
	},
	{
		name: "host unreachable, SO_ERROR", script: peer.Script{SYN: peer.Unreachable(icmpHost)}, play: connectLater,
		outcome: "unreachable", errno: "EHOSTUNREACH", walk: walkNoAnswer,
	},
	{
		name: "protocol unreachable", script: peer.Script{SYN: peer.Unreachable(icmpProtocol)}, play: connectOnly,
		outcome: "unreachable", errno: "ENOPROTOOPT", walk: walkNoAnswer,
	},
	{
		name: "port unreachable", script: peer.Script{SYN: peer.Unreachable(icmpPort)}, play: connectOnly,
		outcome: "rejected", errno: "ECONNREFUSED", walk: walkNoAnswer,
	},
	{
		name: "administratively prohibited", script: peer.Script{SYN: peer.Unreachable(icmpAdmin)}, play: connectOnly,
		outcome: "unreachable", errno: "EHOSTUNREACH", walk: walkNoAnswer,
	},
	{
		name: "unreachable route", play: route("unreachable"),
		outcome: "unreachable", errno: "EHOSTUNREACH", hook: connectHook, silent: true,
	},
	{
		name: "no route", play: route("throw"),
		outcome: "unreachable", errno: "ENETUNREACH", hook: connectHook, silent: true,
	},
	{
		name: "prohibit route", play: route("prohibit"),
		outcome: "rejected", errno: "EACCES", hook: connectHook, silent: true,
	},
	{
		name: "blackhole route", play: route("blackhole"),
		outcome: "unreachable", errno: "EINVAL", hook: connectHook, silent: true,
	},
	{
		name: "no route for IPv6",
		play: func(s *stage) {
			s.to = netip.MustParseAddrPort("[2001:db8::1]:80")
			connectOnly(s)
		},
		outcome: "unreachable", errno: "ENETUNREACH", hook: connectHook, silent: true,
	},
	{
		name: "no neighbour answers",
		play: func(s *stage) {
			s.ip("link add ether0 type veth peer name ether1")
			s.ip("link set ether1 up")
			s.ip("link set ether0 up")
			s.check(os.WriteFile("/proc/sys/net/ipv4/neigh/ether0/retrans_time_ms", []byte("100"), 0o644))
			s.ip("addr add 10.99.0.1/24 dev ether0")
			s.ip("route add " + s.to.Addr().String() + "/32 dev ether0 src " + s.wire.Local.String())
			connectOnly(s)
		},
		outcome: "unreachable", errno: "EHOSTUNREACH", walk: walkNoAnswer,
	},
	{
		name: "no port left",
		play: func(s *stage) {
			for range 8 { // as many as the range has
				s.check(s.connect(s.socket()))
			}
			connectOnly(s)
		},
		outcome: "no_local_port", errno: "EADDRNOTAVAIL", hook: connectHook, fillers: true, walk: walkNoAnswer,
	},
	{
		name: "the addresses are in use",
		play: func(s *stage) {
			for range 2 {
				fd := s.socket()
				s.option(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				s.check(unix.Bind(fd, &unix.SockaddrInet4{Addr: s.wire.Local.As4(), Port: 45000}))
				s.keep(s.connect(fd))
			}
		},
		outcome: "no_local_port", errno: "EADDRNOTAVAIL", hook: connectHook, fillers: true, walk: walkNoAnswer,
	},
	{
		name: "no port left when it connects again", script: acknowledgeFIN,
		play: func(s *stage) {
			fd := s.socket()
			s.check(s.connect(fd))
			s.disconnect(fd) // reset_local
			for range 8 {
				s.check(s.connect(s.socket()))
			}
			s.keep(s.connect(fd))
		},
		outcome: "no_local_port", errno: "EADDRNOTAVAIL", hook: connectHook, fillers: true, walk: walkNoAnswer,
	},
	{
		name: "closed while it connects", script: peer.Script{SYN: peer.Silence},
		play:    func(s *stage) { s.close(s.begin()) },
		outcome: "aborted_connect", walk: walkNoAnswer,
	},
	{
		name: "killed while it connects", script: peer.Script{SYN: peer.Silence},
		play:    func(s *stage) { s.kill(s.begin()) },
		outcome: "aborted_connect", walk: walkNoAnswer,
	},
	{
		name: "disconnected while it connects", script: peer.Script{SYN: peer.Silence},
		play:    func(s *stage) { s.disconnect(s.begin()) },
		outcome: "aborted_connect", walk: walkNoAnswer,
	},
	{
		name: "shut down while it connects", script: peer.Script{SYN: peer.Silence},
		play:    func(s *stage) { s.shutdown(s.begin()) },
		outcome: "aborted_connect", walk: walkNoAnswer,
	},
	{
		name: "destroyed while it connects", script: peer.Script{SYN: peer.Silence},
		play: func(s *stage) {
			fd := s.begin()
			s.destroy(fd)
			s.soError(fd)
		},
		outcome: "destroyed", errno: "ECONNABORTED", walk: walkNoAnswer,
	},
	{
		name:   "reset in a simultaneous open",
		script: peer.Script{SYN: simultaneousSYN},
		play: func(s *stage) {
			fd := s.begin()
			s.check(s.peer.Await(peer.Us, peer.SYN|peer.ACK, 1))
			s.peer.Send(peer.RST|peer.ACK, "")
			s.soError(fd)
		},
		outcome: "refused", errno: "ECONNRESET", closedBy: "remote", walk: "SYN_SENT>SYN_RECV>CLOSE",
	},

	// Peers that are lost.
	{
		name: "silent peer", script: silentData, play: loseData,
		outcome: "timeout", errno: "ETIMEDOUT", walk: walkCut, wrote: 10,
	},
	{
		name: "silent peer, all retransmissions", script: silentData,
		play: func(s *stage) {
			fd := s.open()
			s.write(fd)
			s.readAll(fd)
		},
		outcome: "timeout", errno: "ETIMEDOUT", walk: walkCut, wrote: 10,
	},
	{
		name: "silent peer, accepted", script: silentData,
		play: func(s *stage) {
			fd := s.accepted()
			s.userTimeout(fd)
			s.write(fd)
			s.readAll(fd)
		},
		outcome: "timeout", errno: "ETIMEDOUT", walk: "SYN_RECV>ESTABLISHED>CLOSE", wrote: 10,
	},
	{
		name: "network unreachable, established", script: peer.Script{Data: peer.Unreachable(icmpNet)}, play: loseData,
		outcome: "unreachable", errno: "ENETUNREACH", walk: walkCut, wrote: 10,
	},
	{
		name: "host unreachable, established", script: peer.Script{Data: peer.Unreachable(icmpHost)}, play: loseData,
		outcome: "unreachable", errno: "EHOSTUNREACH", walk: walkCut, wrote: 10,
	},
	{
		name: "administratively prohibited, established", script: peer.Script{Data: peer.Unreachable(icmpAdmin)}, play: loseData,
		outcome: "unreachable", errno: "EHOSTUNREACH", walk: walkCut, wrote: 10,
	},
	{
		name: "port unreachable, established", script: peer.Script{Data: peer.Unreachable(icmpPort)}, play: loseData,
		outcome: "rejected", errno: "ECONNREFUSED", walk: walkCut, wrote: 10,
	},
	{
		name: "route gone, established", script: silentData,
		play: func(s *stage) {
			fd := s.open()
			s.userTimeout(fd)
			s.ip("route add unreachable " + s.to.Addr().String() + "/32")
			s.write(fd)
			s.readAll(fd)
		},
		// What was never sent is not sent again but probed for, without a look at the
		// route that would leave an error.
		outcome: "timeout", errno: "ETIMEDOUT", walk: walkCut,
	},
	{
		name: "route gone with data on the way", script: silentData,
		play: func(s *stage) {
			fd := s.open()
			s.userTimeout(fd)
			s.write(fd)
			s.ip("route add unreachable " + s.to.Addr().String() + "/32")
			s.readAll(fd)
		},
		outcome: "unreachable", errno: "EHOSTUNREACH", walk: walkCut, wrote: 10,
	},
	{
		name: "device down", script: silentData, alone: true,
		play: func(s *stage) {
			fd := s.open()
			s.userTimeout(fd)
			s.write(fd)
			s.ip("link set " + s.wire.Device + " down")
			s.readAll(fd)
		},
		outcome: "unreachable", errno: "ENETUNREACH", walk: walkCut, wrote: 10,
	},
	{
		name: "keepalive", script: silentData,
		play: func(s *stage) {
			fd := s.open()
			s.keepalive(fd)
			s.readAll(fd)
		},
		// The kernel sends an RST before it gives up (tcp_keepalive_timer).
		outcome: "timeout", errno: "ETIMEDOUT", closedBy: "local", walk: walkCut,
	},
	{
		name: "closed window",
		play: func(s *stage) {
			fd := s.open()
			s.userTimeout(fd)
			s.peer.SetWindow(0)
			s.peer.Send(peer.ACK, "")
			s.peer.Script(silentData)
			time.Sleep(20 * time.Millisecond)
			s.write(fd)
			s.readAll(fd)
		},
		outcome: "timeout", errno: "ETIMEDOUT", walk: walkCut,
	},
	{
		name: "silent peer after its FIN", script: silentData,
		play: func(s *stage) {
			fd := passive(s)
			s.userTimeout(fd)
			s.write(fd)
			s.readAll(fd) // the end of what came
			s.soError(fd)
		},
		outcome: "timeout", errno: "ETIMEDOUT", closedBy: "remote", walk: walkCutPassed, wrote: 10,
	},
	{
		name: "silent peer in FIN_WAIT1", script: silentData, play: loseFIN,
		outcome: "timeout", errno: "ETIMEDOUT", closedBy: "local", walk: walkCutWait1,
	},
	{
		name: "host unreachable in FIN_WAIT1", script: peer.Script{FIN: peer.Unreachable(icmpHost)}, play: loseFIN,
		outcome: "unreachable", errno: "EHOSTUNREACH", closedBy: "local", walk: walkCutWait1,
	},
	{
		name: "keepalive in FIN_WAIT2", script: acknowledgeFIN,
		play: func(s *stage) {
			fd := halfClosed(s)
			s.keepalive(fd)
			s.readAll(fd)
		},
		outcome: "timeout", errno: "ETIMEDOUT", closedBy: "local", walk: walkCutWait2,
	},

	// Resets.
	{
		name: "reset by the peer",
		play: func(s *stage) {
			fd := s.open()
			s.peer.Send(peer.RST|peer.ACK, "")
			s.readAll(fd)
		},
		outcome: "reset_remote", errno: "ECONNRESET", closedBy: "remote", walk: walkCut,
	},
	{
		name: "data, then reset by the peer",
		play: func(s *stage) {
			fd := s.open()
			s.write(fd)
			s.check(s.peer.Await(peer.Them, peer.ACK, 2))
			s.peer.Send(peer.PSH|peer.ACK, "hello")
			s.peer.Send(peer.RST|peer.ACK, "")
			s.soError(fd)
		},
		outcome: "reset_remote", errno: "ECONNRESET", closedBy: "remote", walk: walkCut, wrote: 10, read: 5,
	},
	{
		name: "reset by the peer, accepted",
		play: func(s *stage) {
			fd := s.accepted()
			s.peer.Send(peer.RST|peer.ACK, "")
			s.readAll(fd)
		},
		outcome: "reset_remote", errno: "ECONNRESET", closedBy: "remote", walk: "SYN_RECV>ESTABLISHED>CLOSE",
	},
	{
		name: "reset in CLOSE_WAIT",
		play: func(s *stage) {
			fd := passive(s)
			s.peer.Send(peer.RST|peer.ACK, "")
			s.soError(fd)
		},
		outcome: "reset_remote", errno: "EPIPE", closedBy: "remote", walk: walkCutPassed,
	},
	{
		name: "reset in FIN_WAIT1", script: swallowFIN,
		play: func(s *stage) {
			fd := s.open()
			s.shutdown(fd)
			s.check(s.peer.Await(peer.Us, peer.FIN, 1))
			s.peer.Send(peer.RST|peer.ACK, "")
			s.readAll(fd)
		},
		outcome: "reset_remote", errno: "ECONNRESET", closedBy: "local", walk: walkCutWait1,
	},
	{
		name: "reset of an orphan in FIN_WAIT1", script: swallowFIN,
		play: func(s *stage) {
			s.close(s.open())
			s.check(s.peer.Await(peer.Us, peer.FIN, 1))
			s.peer.Send(peer.RST|peer.ACK, "")
		},
		outcome: "reset_remote", errno: "ECONNRESET", orphan: true, closedBy: "local", walk: walkCutWait1,
	},
	{
		name: "reset in FIN_WAIT2", script: acknowledgeFIN,
		play: func(s *stage) {
			fd := halfClosed(s)
			s.peer.Send(peer.RST|peer.ACK, "")
			s.readAll(fd)
		},
		outcome: "reset_remote", errno: "ECONNRESET", closedBy: "local", walk: walkCutWait2,
	},
	{
		name: "reset of an orphan in FIN_WAIT2", script: acknowledgeFIN,
		play: func(s *stage) {
			s.leave(halfClosed(s))
			s.peer.Send(peer.RST|peer.ACK, "")
			s.gone()
		},
		outcome: "reset_remote", closedBy: "local", walk: walkCutWait2, hook: timewaitHook,
	},
	{
		name: "reset in LAST_ACK", script: swallowFIN,
		play: func(s *stage) {
			s.close(passive(s))
			s.check(s.peer.Await(peer.Us, peer.FIN, 1))
			s.peer.Send(peer.RST|peer.ACK, "")
		},
		outcome: "reset_remote", errno: "ECONNRESET", orphan: true, closedBy: "remote", walk: walkPassive,
	},
	{
		name: "reset in CLOSING", script: peer.Script{FIN: func(c *peer.Conn, _ peer.Segment) { c.Send(peer.FIN|peer.ACK, "") }},
		play: func(s *stage) {
			fd := s.open()
			s.shutdown(fd)
			s.state(fd, stateClosing)
			s.peer.Send(peer.RST|peer.ACK, "")
			s.soError(fd)
		},
		outcome: "reset_remote", errno: "ECONNRESET", closedBy: "local", walk: "SYN_SENT>ESTABLISHED>FIN_WAIT1>CLOSING>CLOSE",
	},
	{
		name: "closed with data unread",
		play: func(s *stage) {
			fd := s.open()
			s.peer.Send(peer.PSH|peer.ACK, "hello")
			s.check(s.peer.Await(peer.Us, peer.ACK, 2))
			s.close(fd)
		},
		outcome: "reset_local", closedBy: "local", walk: walkCut, read: 5,
	},
	{
		name: "closed with data unread after the peer's FIN",
		play: func(s *stage) {
			fd := s.open()
			s.peer.Send(peer.PSH|peer.ACK, "hello")
			s.peer.Send(peer.FIN|peer.ACK, "")
			s.state(fd, stateCloseWait)
			s.close(fd)
		},
		outcome: "reset_local", closedBy: "remote", walk: walkCutPassed, read: 5,
	},
	{
		name: "closed with a linger of 0",
		play: func(s *stage) {
			fd := s.open()
			s.abortOnClose(fd)
			s.close(fd)
		},
		outcome: "reset_local", closedBy: "local", walk: walkCut,
	},
	{
		name: "closed with a linger of 0 after its FIN", script: acknowledgeFIN,
		play: func(s *stage) {
			fd := halfClosed(s)
			s.abortOnClose(fd)
			s.close(fd)
		},
		outcome: "reset_local", closedBy: "local", walk: walkCutWait2,
	},
	{
		name: "disconnected",
		play: func(s *stage) {
			fd := s.open()
			s.disconnect(fd)
		},
		outcome: "reset_local", closedBy: "local", walk: walkCut,
	},
	{
		name: "destroyed",
		play: func(s *stage) {
			fd := s.open()
			s.destroy(fd)
			s.readAll(fd)
		},
		outcome: "destroyed", errno: "ECONNABORTED", closedBy: "local", walk: walkCut,
	},
	{
		name: "listener closed before accept",
		play: func(s *stage) {
			listener, port := s.listen()
			s.peer.Connect(4000, port)
			s.check(s.peer.Await(peer.Them, peer.ACK, 1))
			time.Sleep(20 * time.Millisecond)
			s.close(listener)
		},
		outcome: "reset_local", closedBy: "local", walk: "SYN_RECV>ESTABLISHED>CLOSE",
	},

	// Orphans, and what else ends after the program is done.
	{
		name: "orphan in FIN_WAIT1, silent peer", script: silentData, play: orphanFIN,
		outcome: "timeout", errno: "ETIMEDOUT", orphan: true, closedBy: "local", walk: walkCutWait1,
	},
	{
		name: "orphan in FIN_WAIT1, host unreachable", script: peer.Script{FIN: peer.Unreachable(icmpHost)}, play: orphanFIN,
		outcome: "unreachable", errno: "EHOSTUNREACH", orphan: true, closedBy: "local", walk: walkCutWait1,
	},
	{
		name: "orphan in FIN_WAIT2, silent peer", script: acknowledgeFIN, play: orphanFIN,
		outcome: "timeout", closedBy: "local", walk: walkCutWait2,
	},
	{
		name: "orphan in FIN_WAIT2, late data", script: acknowledgeFIN,
		play: func(s *stage) {
			s.close(halfClosed(s))
			time.Sleep(20 * time.Millisecond)
			s.peer.Send(peer.PSH|peer.ACK, "late")
			s.gone()
		},
		outcome: "reset_local", closedBy: "local", walk: walkCutWait2, hook: timewaitHook,
	},
	{
		name: "orphan in FIN_WAIT1, late data", script: peer.Script{FIN: peer.Silence},
		play: func(s *stage) {
			s.close(s.open())
			s.check(s.peer.Await(peer.Us, peer.FIN, 1))
			s.peer.Send(peer.PSH|peer.ACK, "late")
			s.gone()
		},
		outcome: "reset_local", errno: "ECONNRESET", orphan: true, closedBy: "local", walk: walkCutWait1,
	},
	{
		name: "late data after both halves were shut down", script: acknowledgeFIN,
		play: func(s *stage) {
			fd := halfClosed(s)
			s.check(unix.Shutdown(fd, unix.SHUT_RD))
			s.peer.Send(peer.PSH|peer.ACK, "late")
			s.soError(fd)
		},
		outcome: "reset_local", errno: "ECONNRESET", closedBy: "local", walk: walkCutWait2,
	},
	{
		name: "no FIN_WAIT2 allowed", script: acknowledgeFIN,
		play: func(s *stage) {
			fd := s.open()
			s.option(fd, unix.IPPROTO_TCP, unix.TCP_LINGER2, -1)
			s.close(fd)
		},
		outcome: "reset_local", closedBy: "local", walk: walkCutWait2,
	},
	{
		name: "orphan in LAST_ACK, silent peer", script: silentData,
		play: func(s *stage) {
			s.close(passive(s))
			s.gone()
		},
		outcome: "timeout", errno: "ETIMEDOUT", orphan: true, closedBy: "remote", walk: walkPassive,
	},

	// In order.
	{
		name: "closed by this side",
		play: func(s *stage) {
			fd := s.open()
			s.write(fd)
			s.close(fd)
		},
		outcome: "closed", closedBy: "local", walk: "SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT", wrote: 10,
	},
	{
		name: "closed by the peer",
		play: func(s *stage) {
			fd := s.open()
			s.peer.Script(acknowledgeFIN)
			s.peer.Send(peer.PSH|peer.ACK, "hello")
			s.peer.Send(peer.FIN|peer.ACK, "")
			s.readAll(fd)
			s.close(fd)
		},
		outcome: "closed", closedBy: "remote", walk: walkPassive, read: 5,
	},
	{
		name: "killed", script: acknowledgeFIN,
		play: func(s *stage) {
			s.kill(s.open())
			s.check(s.peer.Await(peer.Them, peer.ACK, 2))
			s.peer.Send(peer.FIN|peer.ACK, "")
		},
		outcome: "closed", closedBy: "local", walk: "SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT",
	},
	{
		name: "half-closed by this side", script: acknowledgeFIN,
		play: func(s *stage) {
			fd := halfClosed(s)
			s.peer.Send(peer.PSH|peer.ACK, "hello")
			s.peer.Send(peer.FIN|peer.ACK, "")
			s.readAll(fd)
		},
		outcome: "closed", closedBy: "local", walk: "SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT", read: 5,
	},
	{
		name: "half-closed by the peer", script: acknowledgeFIN,
		play: func(s *stage) {
			fd := passive(s)
			s.write(fd)
			s.close(fd)
		},
		outcome: "closed", closedBy: "remote", walk: walkPassive, wrote: 10,
	},
	{
		name: "closed by this side with an error pending",
		play: func(s *stage) {
			s.close(pendingError(s))
		},
		outcome: "closed", closedBy: "local", walk: "SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT", wrote: 10,
	},
	{
		name: "closed by the peer with an error pending",
		play: func(s *stage) {
			fd := pendingError(s)
			s.peer.Script(acknowledgeFIN)
			s.peer.Send(peer.FIN|peer.ACK, "")
			s.state(fd, stateCloseWait)
			s.close(fd)
		},
		outcome: "closed", closedBy: "remote", walk: walkPassive, wrote: 10,
	},
	{
		name: "closed with data unread and an error pending",
		play: func(s *stage) {
			fd := pendingError(s)
			n := s.peer.Count(peer.Us, peer.ACK)
			s.peer.Send(peer.PSH|peer.ACK, "hello")
			s.check(s.peer.Await(peer.Us, peer.ACK, n+1))
			s.close(fd)
		},
		outcome: "reset_local", closedBy: "local", walk: walkCut, wrote: 10, read: 5,
	},
	{
		name:   "data that came only when it was sent again",
		script: peer.Script{Data: peer.Silence, FIN: peer.Close},
		play: func(s *stage) {
			fd := s.open()
			s.write(fd)
			s.check(s.peer.Await(peer.Us, peer.PSH, 1))
			s.peer.Script(peer.Script{})
			s.check(s.peer.Await(peer.Us, peer.PSH, 2))
			time.Sleep(20 * time.Millisecond)
			s.close(fd)
		},
		outcome: "closed", closedBy: "local", walk: "SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT", wrote: 10,
	},
	{
		name:   "simultaneous open",
		script: peer.Script{SYN: simultaneous},
		play: func(s *stage) {
			fd := s.open()
			s.state(fd, stateEstablished)
			s.close(fd)
		},
		outcome: "closed", closedBy: "local", walk: "SYN_SENT>SYN_RECV>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT",
	},
	{
		name: "simultaneous close", script: peer.Script{FIN: crossFIN},
		play: func(s *stage) {
			fd := s.open()
			s.shutdown(fd)
			s.state(fd, stateClosing)
			s.peer.Acknowledge()
		},
		outcome: "closed", closedBy: "local", walk: "SYN_SENT>ESTABLISHED>FIN_WAIT1>CLOSING>TIME_WAIT",
	},
	{
		name: "accepted, closed by this side",
		play: func(s *stage) {
			s.close(s.accepted())
		},
		outcome: "closed", closedBy: "local", walk: "SYN_RECV>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT",
	},

	// Handshakes that the client does not complete.
	{
		name: "handshake without an end", script: peer.Script{SYN: peer.Silence},
		play: func(s *stage) {
			_, port := s.listen()
			s.peer.Connect(4000, port)
			s.check(s.peer.Await(peer.Us, peer.SYN|peer.ACK, 2))
			s.gone()
		},
		outcome: "handshake_dropped", walk: "SYN_RECV>CLOSE",
	},
	{
		name: "handshake that the client resets", script: peer.Script{SYN: peer.Silence},
		play: func(s *stage) {
			_, port := s.listen()
			s.peer.Connect(4000, port)
			s.check(s.peer.Await(peer.Us, peer.SYN|peer.ACK, 1))
			s.peer.Send(peer.RST, "")
			s.gone()
		},
		outcome: "handshake_dropped", closedBy: "remote", walk: "SYN_RECV>CLOSE", hook: noHook,
	},
	{
		name: "handshake of a listener that closes", script: peer.Script{SYN: peer.Silence},
		play: func(s *stage) {
			listener, port := s.listen()
			s.peer.Connect(4000, port)
			s.check(s.peer.Await(peer.Us, peer.SYN|peer.ACK, 1))
			s.close(listener)
			s.gone()
		},
		outcome: "handshake_dropped", walk: "SYN_RECV>CLOSE",
	},
}

// simultaneousSYN answers a SYN with another, and the answer to that with nothing.
func simultaneousSYN(c *peer.Conn, s peer.Segment) {
	if !s.Flags.Has(peer.ACK) {
		c.Send(peer.SYN, "")
	}
}

// simultaneous answers a SYN as a side that has sent its own does (RFC 9293, 3.5).
func simultaneous(c *peer.Conn, s peer.Segment) {
	if s.Flags.Has(peer.ACK) {
		c.Send(peer.ACK, "")
		return
	}
	c.Send(peer.SYN, "")
}

// crossFIN answers a FIN as a side that sent its own before it came.
func crossFIN(c *peer.Conn, s peer.Segment) {
	c.Send(peer.FIN|peer.ACK, "")
	c.Ack = s.Seq + 1
}
