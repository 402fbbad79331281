package sink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// receiver is a peer that keeps what each connection sends.
type receiver struct {
	t        *testing.T
	listener net.Listener
	texts    []string
}

// newReceiver listens at an address.
func newReceiver(t *testing.T, network, address string) *receiver {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // as rsyslog does
	}
	t.Cleanup(func() { l.Close() })
	return &receiver{t: t, listener: l}
}

// accept takes the next connection.
func (r *receiver) accept() *net.Conn {
	r.t.Helper()
	type deadline interface{ SetDeadline(time.Time) error }
	if d, ok := r.listener.(deadline); ok {
		must(r.t, d.SetDeadline(time.Now().Add(time.Minute)))
	}
	c, err := r.listener.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return &c
}

// readLines reads lines from a connection until one of a number, and keeps them.
func (r *receiver) readLines(c net.Conn, last int) {
	r.t.Helper()
	text := new(strings.Builder)
	lines := bufio.NewReader(c)
	must(r.t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	for {
		line, err := lines.ReadString('\n')
		text.WriteString(line)
		if strings.Contains(line, fmt.Sprintf(" line %d ", last)) {
			break
		}
		if err != nil {
			r.t.Fatalf("%v after %d bytes, before line %d", err, text.Len(), last)
		}
	}
	r.texts = append(r.texts, text.String())
}

// streams are places of stream sockets, each with the spec for it.
func streams(t *testing.T) map[string]func() (network, address, spec string) {
	return map[string]func() (string, string, string){
		"unix": func() (string, string, string) {
			path := t.TempDir() + "/s"
			return "unix", path, "unix:" + path
		},
		"tcp": func() (string, string, string) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer l.Close()
			return "tcp", l.Addr().String(), "tcp:" + l.Addr().String()
		},
	}
}

// TestSocketComesLater checks that a peer which is missing is waited for, told once,
// and that what was made meanwhile arrives when it is there.
func TestSocketComesLater(t *testing.T) {
	t.Parallel()
	for name, place := range streams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network, address, spec := place()
			s := newStage(t, spec)
			s.send(1000)
			why := map[string]string{"unix": "connect: no such file or directory", "tcp": "connect: connection refused"}[network]
			s.told(spec + ": " + why + "; it is tried again")
			until(t, "a second attempt", func() bool { return s.sink.Stats().Written.Errors >= 2 })
			s.count(1)
			r := newReceiver(t, network, address)
			c := *r.accept()
			r.readLines(c, s.sent)
			s.told(spec + " works again")
			s.count(2)
			s.end()
			s.judge(0, r.texts...)
			if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("after the end of the run: %d bytes, %v", n, err)
			}
		})
	}
}

// TestSocketPeerRestarts has the peer go while nothing is sent, and come back: what is
// sent then arrives, and the new connection begins with its head.
func TestSocketPeerRestarts(t *testing.T) {
	t.Parallel()
	for name, place := range streams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network, address, spec := place()
			r := newReceiver(t, network, address)
			s := newStage(t, spec)
			c := *r.accept()
			s.send(100)
			r.readLines(c, s.sent)
			if network == "tcp" {
				time.Sleep(oneWayTime) // an earlier closing is that of a reader which never sends
			}
			c.Close()
			r.listener.Close()
			s.told(spec + ": the peer has closed the connection")
			if network == "unix" { // its file stays behind
				until(t, "a second error", func() bool { return s.sink.Stats().Written.Errors >= 2 })
				must(t, os.Remove(address))
			}
			s.send(100)
			again := newReceiver(t, network, address)
			c = *again.accept()
			again.readLines(c, s.sent)
			s.end()
			s.judge(0, r.texts[0], again.texts[0])
			if !strings.Contains(again.texts[0], " head reconnect 2\n") {
				t.Errorf("the second connection begins with %.60q", again.texts[0])
			}
		})
	}
}

// TestSocketPeerKilled has the peer go amidst what is sent. What lay in the kernel's
// buffers is lost, and the numbers tell; all else arrives, whole.
func TestSocketPeerKilled(t *testing.T) {
	t.Parallel()
	for name, place := range streams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network, address, spec := place()
			r := newReceiver(t, network, address)
			s := newStage(t, spec)
			c := *r.accept()
			s.send(20_000) // 5 MB: more than the buffers hold
			r.readLines(c, 1000)
			c.Close()
			c = *r.accept()
			r.readLines(c, s.sent)
			s.end()
			s.told(spec + ": ") // by the write that failed, or by whoever reads
			first, second := r.texts[0], r.texts[1]
			last, next := lastNumber(t, first), firstNumber(t, second)
			if lost := (next - last - 1) * 250; next <= last || lost > 8<<20 {
				t.Errorf("the second connection begins with number %d after %d", next, last)
			}
			s.judgeFrom(next, second)
		})
	}
}

func firstNumber(t *testing.T, text string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func lastNumber(t *testing.T, text string) int {
	t.Helper()
	text = strings.TrimSuffix(text, "\n")
	return firstNumber(t, text[strings.LastIndexByte(text, '\n')+1:])
}

// judgeFrom checks that a text goes on from a number to the last line without a hole.
func (s *stage) judgeFrom(seq int, text string) {
	s.t.Helper()
	for line := range strings.Lines(text) {
		if n := firstNumber(s.t, line); n != seq || !strings.HasSuffix(line, "\n") {
			s.t.Fatalf("number %d, want %d: %.60q", n, seq, line)
		}
		seq++
	}
}

// TestSocketStalls has a peer that reads nothing for a while. That is no error; who
// makes lines does not wait, and all arrive when it reads.
func TestSocketStalls(t *testing.T) {
	t.Parallel()
	for name, place := range streams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network, address, spec := place()
			r := newReceiver(t, network, address)
			s := newStage(t, spec)
			c := *r.accept()
			s.send(60_000) // 15 MB: more than the buffers hold
			until(t, "the stall", s.stalls())
			if sum := s.sink.Stats(); sum.Written.Errors != 0 || sum.Queue.Records == 0 {
				t.Errorf("in a stall: %+v", sum)
			}
			r.readLines(c, s.sent)
			s.end()
			s.judge(0, r.texts...)
			s.count(0)
		})
	}
}

// stalls returns what reports whether nothing was written for a while.
func (s *stage) stalls() func() bool {
	return func() bool {
		last := s.sink.Stats().Written.Last
		return !last.IsZero() && time.Since(last) > 3*stallInterval
	}
}

// TestSocketStallsAtEnd checks that a run can end while the peer reads nothing.
func TestSocketStallsAtEnd(t *testing.T) {
	t.Parallel()
	for name, place := range streams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network, address, spec := place()
			r := newReceiver(t, network, address)
			s := newStage(t, spec)
			_ = *r.accept()
			s.send(60_000)
			until(t, "the stall", s.stalls())
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			err := s.sink.Drain(ctx)
			if err == nil || !strings.HasSuffix(err.Error(), " records could not be delivered before the end") {
				t.Errorf("the end: %v", err)
			}
		})
	}
}

// TestSocketOneWay has a peer that closes its own direction at once, as one that never
// sends may, and one that talks, which nobody listens to.
func TestSocketOneWay(t *testing.T) {
	t.Parallel()
	for name, place := range streams(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network, address, spec := place()
			r := newReceiver(t, network, address)
			s := newStage(t, spec)
			c := *r.accept()
			if _, err := c.Write([]byte(strings.Repeat("talk", 5000))); err != nil {
				t.Fatal(err)
			}
			must(t, c.(interface{ CloseWrite() error }).CloseWrite())
			for range 4 {
				s.send(100)
				s.idle()
				time.Sleep(peerInterval)
			}
			r.readLines(c, s.sent)
			s.end()
			s.judge(0, r.texts...)
			s.count(0)
		})
	}
}

// TestSocketBuffers checks what the kernel may hold, which dies with the peer.
func TestSocketBuffers(t *testing.T) {
	for name, place := range streams(t) {
		t.Run(name, func(t *testing.T) {
			network, address, spec := place()
			r := newReceiver(t, network, address)
			place, err := ParseSpec(spec, new(Spec))
			must(t, err)
			s := newSocket(&place, func(string) {})
			defer s.Close()
			if why, err := s.Ready(1); why != Start || err != nil {
				t.Fatal(why, err)
			}
			r.accept()
			must(t, s.peer.Control(func(fd uintptr) {
				size, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
				if err != nil || size != 2*sendBuffer { // the kernel counts its own part, too: sock(7)
					t.Errorf("SO_SNDBUF %d, %v", size, err)
				}
				if network != "tcp" {
					return
				}
				if no, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || no != 0 {
					t.Errorf("TCP_NODELAY %d, %v", no, err)
				}
			}))
		})
	}
}

// TestDatagrams checks that each record is a datagram without its newline, that a burst
// that is longer than the receiver's queue arrives whole, and that a receiver can come
// back.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/d"
	s := newStage(t, "unixgram:"+path)
	s.send(20_000)
	s.told("unixgram:" + path + ": connect: no such file or directory; it is tried again")
	first := receiveDatagrams(t, path, s.sent)
	before := s.sink.Stats().Written.Errors
	s.send(1)
	until(t, "an error", func() bool { return s.sink.Stats().Written.Errors > before })
	must(t, os.Remove(path))
	second := receiveDatagrams(t, path, s.sent)
	s.end()
	s.judge(0, first, second)
	s.count(2) // the second outage comes within a minute, and is not told
}

// receiveDatagrams listens until a line of a number comes, and goes away.
func receiveDatagrams(t *testing.T, path string, last int) string {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer c.Close()
	text := new(strings.Builder)
	buf := make([]byte, 1<<16)
	must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	for {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("%v after %d bytes", err, text.Len())
		}
		if n == 0 || buf[n-1] == '\n' {
			t.Fatalf("a datagram is %.60q", buf[:n])
		}
		text.Write(buf[:n])
		text.WriteByte('\n')
		if strings.Contains(string(buf[:n]), fmt.Sprintf(" line %d ", last)) {
			return text.String()
		}
	}
}

// TestDatagramTooLong checks that a record which no datagram can hold does not keep the
// others from arriving.
func TestDatagramTooLong(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/d"
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer c.Close()
	s := newStage(t, "unixgram:"+path)
	for range 2 {
		fmt.Fprintf(s.sink, "%s\n", strings.Repeat("x", 1<<20))
	}
	s.send(1)
	buf := make([]byte, 1<<10)
	must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	for _, want := range []string{" head start 1", " line 1 "} {
		if n, err := c.Read(buf); err != nil || !strings.Contains(string(buf[:n]), want) {
			t.Errorf("%.60q, %v, want %s", buf[:n], err, want)
		}
	}
	s.end()
	s.told("unixgram:" + path + ": a record of 1048577 bytes is longer than a datagram can be, and left out")
	s.count(1)
}

// TestSocketWrongType checks the messages where a path is no socket of the kind.
func TestSocketWrongType(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/plain", "")
	l, err := net.Listen("unix", dir+"/stream")
	must(t, err)
	defer l.Close()
	for spec, want := range map[string]string{
		"unix:" + dir + "/plain":      "unix:DIR/plain: connect: connection refused",
		"unixgram:" + dir + "/stream": "unixgram:DIR/stream: connect: protocol wrong type for socket",
		"tcp:no.such.host.invalid:1":  "tcp:no.such.host.invalid:1: lookup no.such.host.invalid",
	} {
		place, err := ParseSpec(spec, new(Spec))
		must(t, err)
		s := newSocket(&place, func(string) {})
		_, err = s.Ready(1)
		if want = strings.ReplaceAll(want, "DIR", filepath.Clean(dir)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", spec, err, want)
		}
		if _, again := s.Ready(1); again == nil || again.Error() != err.Error() || s.pause.pause != pauseLeast {
			t.Errorf("%s is tried again at once: %v", spec, again)
		}
	}
}

func TestBackoff(t *testing.T) {
	var b backoff
	now := time.Now()
	if b.remaining(now) != 0 {
		t.Error("the first attempt waits")
	}
	differ := false
	for i, ms := range []int64{500, 1000, 2000, 4000, 8000, 16000, 24000, 24000} {
		want := time.Duration(ms) * time.Millisecond
		b.failed(now)
		got := b.remaining(now)
		if got < want || got > want+want/pausePart || got > 30*time.Second {
			t.Errorf("pause %d is %v, want %v and up to a quarter more", i, got, want)
		}
		differ = differ || got != want
		if b.remaining(now.Add(got)) != 0 {
			t.Errorf("pause %d does not end", i)
		}
	}
	if !differ {
		t.Error("chance adds nothing")
	}
}
