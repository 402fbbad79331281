package sink

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sendBuffer is how much waits in the kernel. When the peer dies it is gone, and
	// nobody can tell; the standard of tcp is megabytes.
	sendBuffer = 256 << 10
	// dialTime is how long a peer has to answer.
	dialTime = 4 * time.Second
	// oneWayTime is how soon a tcp peer that never sends closes its direction.
	oneWayTime = 3 * time.Second
	// peerInterval is how often it is looked whether the peer is still there.
	peerInterval = time.Second
)

// socket is a Target that sends to a socket. It connects again when the peer is gone,
// later and later while there is none.
type socket struct {
	network, address string
	place            string // for messages
	notice           func(string)
	pause            backoff

	conn      net.Conn // nil: not connected
	peer      syscall.RawConn
	since     time.Time // of the connection
	oneWay    bool      // the peer has closed its direction only
	begun     bool
	tried     error // why there is no connection
	oversized bool  // a record was too long for a datagram, and somebody knows
}

func newSocket(s *Spec, notice func(string)) *socket {
	network := map[Kind]string{ToUnix: "unix", ToUnixDatagram: "unixgram", ToTCP: "tcp"}[s.Kind]
	return &socket{network: network, address: s.Place, place: s.String(), notice: notice}
}

// Ready connects where there is no connection. Between attempts it returns the error of
// the last one.
func (s *socket) Ready(int) (Begin, error) {
	now := time.Now()
	if s.conn != nil && s.left(now) {
		s.drop(fmt.Errorf("%s: the peer has closed the connection", s.place))
		return Goes, s.tried
	}
	if s.conn != nil {
		return Goes, nil
	}
	if s.tried != nil && s.pause.remaining(now) > 0 {
		return Goes, s.tried
	}
	if err := s.dial(); err != nil {
		s.pause.failed(time.Now())
		s.tried = fmt.Errorf("%s: %w", s.place, err)
		return Goes, s.tried
	}
	s.since, s.tried, s.oneWay = now, nil, false
	if !s.begun {
		s.begun = true
		return Start, nil
	}
	return Reconnect, nil
}

// dial connects. The size of the buffer is set before: tcp negotiates with it.
func (s *socket) dial() error {
	d := net.Dialer{Timeout: dialTime, Control: func(_, _ string, raw syscall.RawConn) error {
		var result error
		err := raw.Control(func(fd uintptr) {
			result = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
		})
		return errors.Join(err, result)
	}}
	conn, err := d.Dial(s.network, s.address)
	if err != nil {
		return reason(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(false) // at worst there are more packets
	}
	s.conn = conn
	s.peer = nil
	if c, ok := conn.(syscall.Conn); ok {
		s.peer, _ = c.SyscallConn() // without it a closing shows at the next Write
	}
	return nil
}

// reason takes the addresses from an error: the place stands before it.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// left reports whether the peer of a stream has gone: what is sent to it would be lost
// without an error. A peer that closes just its own direction reads on, as one that
// never sends may. The kernel tells the two apart for unix sockets. With tcp such a
// peer is known by its closing at the beginning.
func (s *socket) left(now time.Time) bool {
	if s.oneWay || s.peer == nil || s.network == "unixgram" {
		return false
	}
	ended := false
	err := s.peer.Control(func(fd uintptr) {
		ended = readsEnd(int(fd)) && (s.network == "tcp" || hungUp(int(fd)))
	})
	if ended && s.network == "tcp" && now.Sub(s.since) < oneWayTime {
		s.oneWay, ended = true, false
	}
	return ended || err != nil
}

// readsEnd reads and forgets what the peer sends. It reports whether no more comes. A peer
// that sends without end is not waited for: the rest is read the next time.
func readsEnd(fd int) bool {
	const most = 100
	var sent [512]byte
	for range most {
		n, err := unix.Read(fd, sent[:])
		if n <= 0 {
			return err == nil || !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		}
	}
	return false
}

// hungUp reports whether both directions of a unix socket are closed.
func hungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// drop ends the connection. The next attempt has to wait.
func (s *socket) drop(why error) {
	_ = s.conn.Close() // it is of no use any more
	now := time.Now()
	if now.Sub(s.since) > s.pause.pause {
		s.pause = backoff{} // a connection that lived longer was a success
	}
	s.pause.failed(now)
	s.conn, s.tried = nil, why
}

// Room returns how much may be written before Ready is to be called.
func (*socket) Room() int { return roomMost }

// Retry returns how long it is until the next attempt to connect.
func (s *socket) Retry() time.Duration { return s.pause.remaining(time.Now()) }

// Tick asks for a look at the peer.
func (*socket) Tick() time.Duration { return peerInterval }

// Write sends. Where the peer takes nothing it returns what was sent so far.
func (s *socket) Write(lines []byte) (int, error) {
	if s.conn == nil {
		return 0, fmt.Errorf("%s: not connected", s.place)
	}
	err := s.conn.SetWriteDeadline(time.Now().Add(stallInterval))
	n := 0
	if err == nil {
		n, err = s.send(lines)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, nil
	}
	err = fmt.Errorf("%s: %w", s.place, reason(err))
	s.drop(err)
	return n, err
}

func (s *socket) send(lines []byte) (int, error) {
	if s.network == "unixgram" {
		return s.sendEach(lines)
	}
	return s.conn.Write(lines)
}

// sendEach sends each line as a datagram, without its end.
func (s *socket) sendEach(lines []byte) (n int, err error) {
	for n < len(lines) {
		line := lines[n:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end+1]
		}
		_, err := s.conn.Write(bytes.TrimSuffix(line, []byte{'\n'}))
		if errors.Is(err, unix.EMSGSIZE) {
			s.skip(len(line))
		} else if err != nil {
			return n, err
		}
		n += len(line)
	}
	return n, nil
}

// skip leaves out what no datagram can hold: it would be tried for ever.
func (s *socket) skip(length int) {
	if !s.oversized {
		s.notice(fmt.Sprintf("%s: a record of %d bytes is longer than a datagram can be, and left out", s.place, length))
	}
	s.oversized = true
}

// Close ends the connection. What the kernel has of it is sent: tcp would take it back
// if something from the peer were left unread.
func (s *socket) Close() error {
	if s.conn == nil {
		return nil
	}
	s.left(time.Now())
	return s.conn.Close()
}
