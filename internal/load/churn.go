package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Churn returns the role that does to TCP sockets at random whatever a program can
// do: listen with and without bind; connect over IPv4, IPv6 and v4-mapped
// addresses, to listeners, to closed ports and to itself (simultaneous open and
// close); accept or not; close, half-close, reset and disconnect; overflow
// backlogs; hand sockets to other processes. It stops after d. Sockets that are
// still open then stay open until Stop. The same seed draws the same actions.
func Churn(seed uint64, d time.Duration) string {
	return fmt.Sprintf("churn %d %d", seed, d)
}

// churn is the state of the role. No descriptor blocks.
type churn struct {
	rnd       *rand.Rand
	listeners []listener
	socks     []int // connected, connecting, accepted
	holders   []*exec.Cmd
	pipes     []io.Closer
}

type listener struct {
	fd, port int
	ipv6     bool
}

// How many of each may be open at a time.
const (
	maxListeners = 12
	maxSocks     = 150
	maxHolders   = 3
)

func playChurn(seed uint64, d time.Duration) error {
	c := &churn{rnd: rand.New(rand.NewPCG(seed, 1))}
	actions := []func() error{
		c.listen, c.unlisten,
		c.connect, c.connect, c.connect, c.connect, c.connect, c.connectBound, c.connectSelf, c.refused,
		c.accept, c.accept, c.accept, c.accept, c.accept,
		c.close, c.close, c.close, c.close, c.halfClose, c.reset, c.disconnect, c.exchange, c.exchange,
		c.hold,
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		if len(c.listeners) == 0 {
			if err := c.listen(); err != nil {
				return err
			}
		}
		if err := actions[c.rnd.IntN(len(actions))](); err != nil {
			return err
		}
	}
	for i, h := range c.holders {
		if c.rnd.IntN(2) == 0 {
			if err := errors.Join(c.pipes[i].Close(), h.Wait()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *churn) socket(ipv6 bool) (int, error) {
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
}

// loopback returns the loopback address with a port. With ipv6 and mapped it is
// ::ffff:127.0.0.1.
func loopback(ipv6, mapped bool, port int) unix.Sockaddr {
	switch {
	case !ipv6:
		return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	case mapped:
		return &unix.SockaddrInet6{Port: port, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}}
	}
	return &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}
}

func (c *churn) listen() error {
	if len(c.listeners) >= maxListeners {
		return nil
	}
	l := listener{ipv6: c.rnd.IntN(2) == 0}
	fd, err := c.socket(l.ipv6)
	if err != nil {
		return err
	}
	l.fd = fd
	if c.rnd.IntN(4) == 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1); err != nil {
			return err
		}
	}
	if c.rnd.IntN(3) > 0 { // else listen chooses the port
		var wildcard unix.Sockaddr = &unix.SockaddrInet4{}
		if l.ipv6 {
			wildcard = &unix.SockaddrInet6{}
		}
		if err := unix.Bind(fd, wildcard); err != nil {
			return err
		}
	}
	if err := unix.Listen(fd, 1+c.rnd.IntN(6)); err != nil {
		return err
	}
	l.port, err = localPort(fd)
	c.listeners = append(c.listeners, l)
	return err
}

func (c *churn) unlisten() error {
	if len(c.listeners) < 3 {
		return nil
	}
	i := c.rnd.IntN(len(c.listeners))
	fd := c.listeners[i].fd
	c.listeners = append(c.listeners[:i], c.listeners[i+1:]...)
	return unix.Close(fd)
}

// connect connects to a listener. A full backlog leaves it in SYN_SENT.
func (c *churn) connect() error { return c.connectFrom(0) }

// connectBound connects from one of 40 ports, so that a port is used again while
// its former connection is still in TIME_WAIT.
func (c *churn) connectBound() error { return c.connectFrom(20000 + c.rnd.IntN(40)) }

func (c *churn) connectFrom(port int) error {
	l := c.listeners[c.rnd.IntN(len(c.listeners))]
	ipv6, mapped := false, false
	if l.ipv6 {
		ipv6, mapped = c.rnd.IntN(3) > 0, c.rnd.IntN(2) == 0
	}
	fd, err := c.socket(ipv6)
	if err != nil {
		return err
	}
	if port != 0 {
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.Bind(fd, loopback(ipv6, mapped, port)),
		)
		if errors.Is(err, unix.EADDRINUSE) {
			return unix.Close(fd)
		}
		if err != nil {
			return err
		}
	}
	return c.dial(fd, loopback(ipv6, mapped, l.port))
}

func (c *churn) dial(fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	switch {
	case err == nil, errors.Is(err, unix.EINPROGRESS):
		return c.keep(fd)
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ECONNRESET):
		return unix.Close(fd)
	}
	return fmt.Errorf("connect to %v: %w", to, err)
}

func (c *churn) keep(fd int) error {
	c.socks = append(c.socks, fd)
	if len(c.socks) > maxSocks {
		return c.close()
	}
	return nil
}

// connectSelf connects a socket to itself: both ends open, and close, at once.
func (c *churn) connectSelf() error {
	fd, err := c.socket(false)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, loopback(false, false, 0)); err != nil {
		return err
	}
	port, err := localPort(fd)
	if err != nil {
		return err
	}
	return c.dial(fd, loopback(false, false, port))
}

func (c *churn) refused() error {
	fd, err := c.socket(false)
	if err != nil {
		return err
	}
	return c.dial(fd, loopback(false, false, 1))
}

func (c *churn) accept() error {
	l := c.listeners[c.rnd.IntN(len(c.listeners))]
	fd, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	// EINVAL was seen once, on 6.1; it is not known why.
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	return c.keep(fd)
}

// take removes a random socket from the open ones. ok is false if there is none.
func (c *churn) take() (fd int, ok bool) {
	n := len(c.socks)
	if n == 0 {
		return 0, false
	}
	i := c.rnd.IntN(n)
	fd = c.socks[i]
	c.socks[i] = c.socks[n-1]
	c.socks = c.socks[:n-1]
	return fd, true
}

func (c *churn) close() error {
	if fd, ok := c.take(); ok {
		return unix.Close(fd)
	}
	return nil
}

func (c *churn) reset() error {
	fd, ok := c.take()
	if !ok {
		return nil
	}
	return errors.Join(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}), unix.Close(fd))
}

// with calls f on a random open socket, which stays open. Errors that come from
// what the peer did are ignored.
func (c *churn) with(f func(fd int) error) error {
	if len(c.socks) == 0 {
		return nil
	}
	err := f(c.socks[c.rnd.IntN(len(c.socks))])
	for _, fine := range []error{
		unix.ENOTCONN, unix.EPIPE, unix.ECONNRESET, unix.EAGAIN, unix.ECONNREFUSED, unix.EINPROGRESS, unix.EALREADY,
	} {
		if errors.Is(err, fine) {
			return nil
		}
	}
	return err
}

func (c *churn) halfClose() error {
	how := []int{unix.SHUT_WR, unix.SHUT_WR, unix.SHUT_RD, unix.SHUT_RDWR}[c.rnd.IntN(4)]
	return c.with(func(fd int) error { return unix.Shutdown(fd, how) })
}

// disconnect calls connect with AF_UNSPEC. The socket may connect again afterwards.
func (c *churn) disconnect() error { return c.with(Disconnect) }

// Disconnect calls connect with AF_UNSPEC.
func Disconnect(fd int) error {
	var unspec unix.RawSockaddr // AF_UNSPEC is 0
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspec)), unix.SizeofSockaddrInet4)
	if errno != 0 {
		return errno
	}
	return nil
}

func (c *churn) exchange() error {
	return c.with(func(fd int) error {
		buf := make([]byte, 256)
		if c.rnd.IntN(2) == 0 {
			return unix.Sendto(fd, buf, unix.MSG_NOSIGNAL, nil)
		}
		_, err := unix.Read(fd, buf)
		return err
	})
}

// hold passes some of the sockets to another process, which keeps them open.
func (c *churn) hold() error {
	if len(c.holders) >= maxHolders || len(c.socks) < 10 || c.rnd.IntN(20) > 0 {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVar+"=hold ")
	defer func() {
		for _, f := range cmd.ExtraFiles {
			f.Close()
		}
	}()
	var handed []int
	for range 5 {
		fd := c.socks[c.rnd.IntN(len(c.socks))]
		handed = append(handed, fd)
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return err
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(dup), "socket"))
	}
	if err := c.startHolder(cmd); err != nil {
		return err
	}
	for _, fd := range handed { // Start made the shared file descriptions blocking
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
	}
	return nil
}

// startHolder starts a process that holds sockets, and waits until it has them.
func (c *churn) startHolder(cmd *exec.Cmd) error {
	stdin, err := cmd.StdinPipe()
	if err != nil {
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
	c.holders, c.pipes = append(c.holders, cmd), append(c.pipes, stdin)
	return nil
}

// hold keeps the inherited sockets open until the input ends.
func hold() error {
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
