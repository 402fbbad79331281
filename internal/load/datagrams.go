package load

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// Datagrams returns the role that does to UDP, UDP-Lite and raw sockets at random whatever
// a program can do: bind, with and without a port; connect over IPv4, IPv6 and v4-mapped
// addresses, again, to AF_UNSPEC and to where no route leads; send without bind; make an
// IPv6 socket one of IPv4; close; hand sockets to other processes, which end or are
// killed. It stops after d. Sockets that are still open then stay open until Stop. The same
// seed draws the same actions.
func Datagrams(seed uint64, d time.Duration) string { return fmt.Sprintf("datagrams %d %d", seed, d) }

// datagrams is the state of the role. No descriptor blocks.
type datagrams struct {
	rnd     *rand.Rand
	socks   []datagram
	holders []*exec.Cmd
}

type datagram struct {
	fd   int
	ipv6 bool
}

const maxDatagrams = 120

func playDatagrams(seed uint64, d time.Duration) error {
	g := &datagrams{rnd: rand.New(rand.NewPCG(seed, 2))}
	actions := []func() error{
		g.open, g.open, g.open, g.open, g.openRaw,
		g.bind, g.bind, g.bind, g.connect, g.connect, g.connect, g.connect, g.unreachable,
		g.unconnect, g.unconnect, g.send, g.send, g.form,
		g.close, g.close, g.close, g.close, g.hold,
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := actions[g.rnd.IntN(len(actions))](); err != nil {
			return err
		}
	}
	for _, h := range g.holders {
		if g.rnd.IntN(2) == 0 {
			if err := h.Process.Kill(); err != nil {
				return err
			}
			_ = h.Wait() // says that it was killed
		}
	}
	return nil
}

// with calls f for one of the sockets. What it refuses to do does not matter.
func (g *datagrams) with(f func(d datagram) error) error {
	if len(g.socks) > 0 {
		_ = f(g.socks[g.rnd.IntN(len(g.socks))])
	}
	return nil
}

func (g *datagrams) add(ipv6 bool, kind, protocol int) error {
	if len(g.socks) >= maxDatagrams {
		return nil
	}
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if errors.Is(err, unix.EPROTONOSUPPORT) { // UDP-Lite, from 7.1 on
		return nil
	}
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	g.socks = append(g.socks, datagram{fd, ipv6})
	return nil
}

func (g *datagrams) open() error {
	protocol := unix.IPPROTO_UDP
	if g.rnd.IntN(4) == 0 {
		protocol = unix.IPPROTO_UDPLITE
	}
	return g.add(g.rnd.IntN(2) == 0, unix.SOCK_DGRAM, protocol)
}

func (g *datagrams) openRaw() error {
	ipv6 := g.rnd.IntN(2) == 0
	protocols := []int{unix.IPPROTO_ICMP, unix.IPPROTO_UDP, unix.IPPROTO_RAW, 253}
	return g.add(ipv6, unix.SOCK_RAW, protocols[g.rnd.IntN(len(protocols))])
}

// address draws one of the machine's own.
func (g *datagrams) address(d datagram, port int) unix.Sockaddr {
	return loopback(d.ipv6, g.rnd.IntN(3) == 0, port)
}

func (g *datagrams) bind() error {
	return g.with(func(d datagram) error {
		port := 0
		if g.rnd.IntN(3) == 0 {
			port = 20000 + g.rnd.IntN(2000)
		}
		addr := g.address(d, port)
		switch {
		case g.rnd.IntN(2) == 0:
		case d.ipv6:
			addr = &unix.SockaddrInet6{Port: port}
		default:
			addr = &unix.SockaddrInet4{Port: port}
		}
		return unix.Bind(d.fd, addr)
	})
}

func (g *datagrams) connect() error {
	return g.with(func(d datagram) error {
		return unix.Connect(d.fd, g.address(d, 1+g.rnd.IntN(60000)))
	})
}

// unreachable connects to where no route leads: a port may be chosen nevertheless.
func (g *datagrams) unreachable() error {
	return g.with(func(d datagram) error {
		if d.ipv6 {
			return unix.Connect(d.fd, &unix.SockaddrInet6{Port: 53, Addr: [16]byte{0x20, 1, 0xd, 0xb8, 15: 1}})
		}
		return unix.Connect(d.fd, &unix.SockaddrInet4{Port: 53, Addr: [4]byte{192, 0, 2, 1}})
	})
}

func (g *datagrams) unconnect() error {
	return g.with(func(d datagram) error { return Disconnect(d.fd) })
}

func (g *datagrams) send() error {
	return g.with(func(d datagram) error {
		return unix.Sendto(d.fd, []byte("hello"), 0, g.address(d, 1+g.rnd.IntN(60000)))
	})
}

// form makes an IPv6 socket with a mapped peer one of IPv4.
func (g *datagrams) form() error {
	return g.with(func(d datagram) error {
		if !d.ipv6 {
			return nil
		}
		if err := unix.Connect(d.fd, loopback(true, true, 1+g.rnd.IntN(60000))); err != nil {
			return err
		}
		return unix.SetsockoptInt(d.fd, unix.IPPROTO_IPV6, unix.IPV6_ADDRFORM, unix.AF_INET)
	})
}

func (g *datagrams) close() error {
	if len(g.socks) == 0 {
		return nil
	}
	i := g.rnd.IntN(len(g.socks))
	fd := g.socks[i].fd
	g.socks[i] = g.socks[len(g.socks)-1]
	g.socks = g.socks[:len(g.socks)-1]
	return unix.Close(fd)
}

// hold starts a process that has some of the sockets open too.
func (g *datagrams) hold() error {
	if len(g.holders) >= maxHolders || len(g.socks) < 8 {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVar+"=hold ")
	if cmd.ExtraFiles, err = g.copies(8); err != nil {
		return err
	}
	if err := startHolder(cmd); err != nil {
		return err
	}
	g.holders = append(g.holders, cmd)
	for _, f := range cmd.ExtraFiles {
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// copies returns the first sockets as files of their own.
func (g *datagrams) copies(n int) (files []*os.File, err error) {
	for _, d := range g.socks[:n] {
		fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		files = append(files, os.NewFile(uintptr(fd), "socket"))
	}
	return files, nil
}

// startHolder starts a process that holds sockets until this one ends, and waits until it
// has them.
func startHolder(cmd *exec.Cmd) error {
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("a holder of sockets: %w", err)
	}
	return nil
}
