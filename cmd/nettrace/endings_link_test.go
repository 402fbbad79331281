package main

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/peer"
	"github.com/nettrace/nettrace/internal/testnet"
)

// link connects the namespace with another one, by a veth, and makes that the peer.
// It is not traced.
func (s *stage) link(ipv6 bool) {
	number := s.number
	ours, theirs := fmt.Sprintf("near%d", number), "far0"
	far := filepath.Base(s.far)
	s.ip("link add " + ours + " type veth peer name " + theirs + " netns " + far)
	s.ip("link set " + ours + " up")
	s.ip("-n " + far + " link set " + theirs + " up")
	subnet := fmt.Sprintf("10.99.%d.%%d/24", number)
	if ipv6 {
		subnet = fmt.Sprintf("fd00:%d::%%d/64", number)
	}
	flags := ""
	if ipv6 {
		flags = " nodad"
	}
	s.ip("addr add " + fmt.Sprintf(subnet, 1) + " dev " + ours + flags)
	s.ip("-n " + far + " addr add " + fmt.Sprintf(subnet, 2) + " dev " + theirs + flags)
	s.device = ours
	s.to = netip.AddrPortFrom(netip.MustParsePrefix(fmt.Sprintf(subnet, 2)).Addr(), peer.Port)
}

// farListener makes a listener on the peer's side.
func (s *stage) farListener() (fd int) {
	var err error
	testnet.In(s.t, s.far, func() {
		if fd, err = unix.Socket(s.family(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		var local unix.Sockaddr = &unix.SockaddrInet4{Port: peer.Port}
		if s.to.Addr().Is6() {
			local = &unix.SockaddrInet6{Port: peer.Port}
		}
		if err = unix.Bind(fd, local); err == nil {
			err = unix.Listen(fd, 16)
		}
	})
	s.check(err)
	s.files = append(s.files, fd)
	return fd
}

// across makes a connection over a link, and returns both of its ends.
func (s *stage) across() (fd, theirs int) {
	listener := s.farListener()
	fd = s.socket()
	s.check(s.connect(fd))
	theirs, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	s.check(err)
	s.files = append(s.files, theirs)
	return fd, theirs
}

// loseNeighbour writes to a peer that does not answer any more who it is.
func loseNeighbour(s *stage) {
	fd, _ := s.across()
	s.userTimeout(fd)
	far := filepath.Base(s.far)
	s.ip("-n " + far + " link set far0 down")
	s.ip("-n " + far + " link set far0 arp off")
	s.ip("-n " + far + " link set far0 up")
	testnet.Set(s.t, s.netns, "net/"+s.ending.link+"/neigh/"+s.device+"/retrans_time_ms", "100")
	s.ip("neigh flush dev " + s.device)
	s.write(fd)
	s.readAll(fd)
}

// reset closes a socket by a RST.
func (s *stage) reset(fd int) {
	s.abortOnClose(fd)
	s.close(fd)
}

// linked are endings between two kernels, and those that need more of ip(8): they
// are played after the others, whose timers would run out meanwhile.
var linked = []ending{
	{
		name: "neighbour lost", link: "ipv4", play: loseNeighbour,
		outcome: "unreachable", errno: "EHOSTUNREACH", walk: walkCut, wrote: 10,
	},
	{
		name: "neighbour lost, IPv6", link: "ipv6", play: loseNeighbour,
		outcome: "unreachable", errno: "EHOSTUNREACH", walk: walkCut, wrote: 10,
	},
	{
		name: "refused, IPv6", link: "ipv6", play: connectOnly,
		outcome: "refused", errno: "ECONNREFUSED", closedBy: peer.Them, walk: walkNoAnswer,
	},
	{
		name: "no answer, IPv6", link: "ipv6",
		play: func(s *stage) {
			s.ip("-n " + filepath.Base(s.far) + " -6 route add blackhole default")
			s.ip("-n " + filepath.Base(s.far) + " -6 addr flush dev far0 scope global")
			s.ip("-6 neigh replace " + s.to.Addr().String() + " lladdr 02:00:00:00:00:01 nud permanent dev " + s.device)
			connectOnly(s)
		},
		outcome: "timeout_connect", errno: "ETIMEDOUT", walk: walkNoAnswer,
	},
	{
		name: "no neighbour answers, IPv6", link: "ipv6",
		play: func(s *stage) {
			s.ip("-n " + filepath.Base(s.far) + " -6 addr flush dev far0")
			testnet.Set(s.t, s.netns, "net/ipv6/neigh/"+s.device+"/retrans_time_ms", "100")
			connectOnly(s)
		},
		outcome: "unreachable", errno: "EHOSTUNREACH", walk: walkNoAnswer,
	},
	{
		name: "no port left, IPv6", link: "ipv6",
		play: func(s *stage) {
			s.farListener()
			for range 8 { // as many as the range has
				s.check(s.connect(s.socket()))
			}
			connectOnly(s)
		},
		outcome: "no_local_port", errno: "EADDRNOTAVAIL", hook: connectHook, fillers: true, walk: walkNoAnswer,
	},
	{
		name: "prohibit route, IPv6", link: "ipv6",
		play: func(s *stage) {
			s.ip("-6 route add prohibit " + s.to.Addr().String() + "/128")
			connectOnly(s)
		},
		outcome: "rejected", errno: "EACCES", hook: connectHook, silent: true,
	},
	{
		name: "unreachable route, IPv4 peer of an IPv6 socket",
		play: func(s *stage) {
			s.ip("route add unreachable " + s.to.Addr().String() + "/32")
			s.to = netip.AddrPortFrom(netip.AddrFrom16(s.to.Addr().As16()), s.to.Port())
			connectOnly(s)
		},
		outcome: "unreachable", errno: "EHOSTUNREACH", hook: connectHook, silent: true,
	},
	{
		name: "closed by this side, IPv6", link: "ipv6",
		play: func(s *stage) {
			fd, theirs := s.across()
			s.write(fd)
			s.close(fd)
			s.readAll(theirs)
			s.close(theirs)
		},
		outcome: "closed", closedBy: peer.Us, walk: "SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT", wrote: 10,
	},
	{
		name: "reset in FIN_WAIT2, IPv6", link: "ipv6",
		play: func(s *stage) {
			fd, theirs := s.across()
			s.write(fd)
			s.shutdown(fd)
			s.state(fd, stateFinWait2)
			s.close(theirs) // which has not read what came
			s.readAll(fd)
		},
		outcome: "reset_remote", errno: "ECONNRESET", closedBy: peer.Us, walk: walkCutWait2, wrote: 10,
	},
	{
		name: "closed by the peer, IPv6", link: "ipv6",
		play: func(s *stage) {
			fd, theirs := s.across()
			_, err := unix.Write(theirs, []byte("hello"))
			s.check(err)
			s.close(theirs)
			s.readAll(fd)
			s.close(fd)
		},
		outcome: "closed", closedBy: peer.Them, walk: walkPassive, read: 5,
	},
	{
		name: "reset by the peer, IPv6", link: "ipv6",
		play: func(s *stage) {
			fd, theirs := s.across()
			s.reset(theirs)
			s.readAll(fd)
		},
		outcome: "reset_remote", errno: "ECONNRESET", closedBy: peer.Them, walk: walkCut,
	},
	{
		name: "closed with data unread, IPv6", link: "ipv6",
		play: func(s *stage) {
			fd, theirs := s.across()
			_, err := unix.Write(theirs, []byte("hello"))
			s.check(err)
			s.check(s.readable(fd))
			s.close(fd)
			// A child that is about to execute ip(8) may have the last reference.
			s.check(s.readable(theirs))
		},
		outcome: "reset_local", closedBy: peer.Us, walk: walkCut, read: 5,
	},
	{
		name: "reset of an orphan in FIN_WAIT2, IPv6", link: "ipv6",
		play: func(s *stage) {
			fd, theirs := s.across()
			s.shutdown(fd)
			s.state(fd, stateFinWait2)
			s.leave(fd)
			s.reset(theirs)
		},
		outcome: "reset_remote", closedBy: peer.Us, walk: walkCutWait2, hook: timewaitHook,
	},
}

// readable waits until there is something to read, or an error.
func (s *stage) readable(fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000)
		if n == 0 && err == nil {
			return errors.New("nothing to read in 10 s")
		}
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
