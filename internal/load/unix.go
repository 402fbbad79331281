package load

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// UnixChurn returns the role that does to Unix sockets at random whatever a program can
// do: all three types; names of files, abstract ones and those that the kernel chooses;
// listen, connect, accept or not, full backlogs, refused connects; datagram sockets that
// connect, connect elsewhere, disconnect and lose their peer; pairs; descriptors in
// flight, and those that nobody can receive any more. It stops after d. Sockets that are
// still open then stay open until Stop. Processes with the same directory meet by name.
func UnixChurn(seed uint64, d time.Duration, dir string) string {
	return fmt.Sprintf("unix %d %d %s", seed, d, dir)
}

const (
	unixNames = 12 // of each kind, for all processes
	unixSocks = 120
)

// unixChurn is the state of the role. No descriptor blocks.
type unixChurn struct {
	rnd   *rand.Rand
	dir   string
	socks []int
}

// playUnix plays the role. Every call may fail, since what others do decides: an error is
// a part of the scene.
func playUnix(seed uint64, d time.Duration, dir string) error {
	c := &unixChurn{rnd: rand.New(rand.NewPCG(seed, 3)), dir: dir}
	actions := []func(){
		c.open, c.open, c.bind, c.bind, c.listen, c.listen,
		c.connect, c.connect, c.connect, c.accept, c.accept, c.accept,
		c.pair, c.send, c.send, c.disconnect, c.passName, c.shutdown,
		c.close, c.close, c.close, c.inFlight, c.cycle,
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		actions[c.rnd.IntN(len(actions))]()
	}
	return nil
}

// name returns one of the names that all share.
func (c *unixChurn) name() *unix.SockaddrUnix {
	n := c.rnd.IntN(unixNames)
	if c.rnd.IntN(2) == 0 {
		return &unix.SockaddrUnix{Name: filepath.Join(c.dir, fmt.Sprintf("socket.%d", n))}
	}
	return &unix.SockaddrUnix{Name: fmt.Sprintf("@nettrace.%d\x00 of churn", n)}
}

// any returns one of the sockets, or -1.
func (c *unixChurn) any() int {
	if len(c.socks) == 0 {
		return -1
	}
	return c.socks[c.rnd.IntN(len(c.socks))]
}

func (c *unixChurn) keep(fds ...int) {
	c.socks = append(c.socks, fds...)
	for len(c.socks) > unixSocks {
		c.close()
	}
}

func (c *unixChurn) kind() int {
	return []int{unix.SOCK_STREAM, unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET, unix.SOCK_RAW}[c.rnd.IntN(5)] |
		unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
}

func (c *unixChurn) open() {
	if fd, err := unix.Socket(unix.AF_UNIX, c.kind(), 0); err == nil {
		c.keep(fd)
	}
}

// bind gives a socket one of the names, or one that the kernel chooses. A file that is in
// the way goes, whoever's it is.
func (c *unixChurn) bind() {
	to := c.name()
	if c.rnd.IntN(4) == 0 {
		to = &unix.SockaddrUnix{}
	}
	if err := unix.Bind(c.any(), to); err == unix.EADDRINUSE && c.rnd.IntN(2) == 0 {
		_ = unix.Unlink(to.Name)
	}
}

func (c *unixChurn) listen() { _ = unix.Listen(c.any(), c.rnd.IntN(4)) }

func (c *unixChurn) connect() { _ = unix.Connect(c.any(), c.name()) }

func (c *unixChurn) accept() {
	if fd, _, err := unix.Accept4(c.any(), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC); err == nil {
		c.keep(fd)
	}
}

func (c *unixChurn) pair() {
	if fds, err := unix.Socketpair(unix.AF_UNIX, c.kind(), 0); err == nil {
		c.keep(fds[:]...)
	}
}

// send sends to the peer, which may be gone, or to a name.
func (c *unixChurn) send() {
	var to unix.Sockaddr
	if c.rnd.IntN(2) == 0 {
		to = c.name()
	}
	_ = unix.Sendto(c.any(), []byte("x"), unix.MSG_NOSIGNAL, to)
}

func (c *unixChurn) disconnect() { _ = Disconnect(c.any()) }

// passName makes the kernel choose a name at the next connect or send.
func (c *unixChurn) passName() {
	_ = unix.SetsockoptInt(c.any(), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
}

func (c *unixChurn) shutdown() { _ = unix.Shutdown(c.any(), c.rnd.IntN(3)) }

func (c *unixChurn) close() {
	if len(c.socks) == 0 {
		return
	}
	i := c.rnd.IntN(len(c.socks))
	_ = unix.Close(c.socks[i])
	c.socks = slices.Delete(c.socks, i, i+1)
}

// inFlight sends a descriptor to somebody and closes it.
func (c *unixChurn) inFlight() {
	fd := c.any()
	_ = unix.Sendmsg(c.any(), []byte("x"), unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
	if i := slices.Index(c.socks, fd); i >= 0 {
		_ = unix.Close(fd)
		c.socks = slices.Delete(c.socks, i, i+1)
	}
}

// cycle sends both ends of a pair through themselves and closes them: only the kernel's
// collector finds them, when a Unix socket is closed next, or later.
func (c *unixChurn) cycle() {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	_ = unix.Sendmsg(fds[0], []byte("x"), unix.UnixRights(fds[:]...), nil, unix.MSG_NOSIGNAL)
	_ = unix.Close(fds[0])
	_ = unix.Close(fds[1])
}
