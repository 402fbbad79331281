package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/peer"
	"github.com/nettrace/nettrace/internal/testnet"
)

// ending is one way for a connection to end: what the peer and the program do,
// and what must be reported of it. The errno that the program got and the packets
// on the wire are held against the same words.
type ending struct {
	name   string
	script peer.Script
	play   func(*stage)

	outcome  string
	errno    string // of the record
	closedBy string
	walk     string // the history; empty: not looked at
	wrote    int    // bytes of data by the program, each counted once
	read     int    // bytes of data that came

	orphan  bool   // the program was gone before the end: nobody got the errno
	got     string // what the program got, where it is not errno
	silent  bool   // without the hook there is no record at all
	fillers bool   // other connections to the same peer end in other ways
	alone   bool   // the peer has a device of its own
	link    string // the peer is another namespace: "ipv4", "ipv6"
	offWire bool   // what closed it did not pass the device
	hook    string // without it this kernel does not say: unknown and absent are right
	without string // the outcome without the hook, where that is not unknown
}

// stage is where one ending is played. Its methods do not return when they fail.
type stage struct {
	*ending
	t     *testing.T
	netns string
	wire  *peer.Net
	peer  *peer.Peer
	to    netip.AddrPort
	saw   unix.Errno // what the program got
	taken bool       // by SO_ERROR
	files []int

	far    string // another namespace, for those of linked
	number int    // of the ending
	device string // of the link between the two

	absent string // why the ending cannot be played here
}

// stageFailure ends a play.
type stageFailure struct{ err error }

func (s *stage) check(err error) {
	if err != nil {
		panic(stageFailure{err})
	}
}

// keep keeps the errno of a call. No error is an errno of its own: 0.
func (s *stage) keep(err error) {
	if err == nil {
		s.saw = 0
	} else if !errors.As(err, &s.saw) {
		s.check(err)
	}
}

// family is that of the peer's address.
func (s *stage) family() int {
	if s.to.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// socket makes a socket that gives up waiting after ten seconds.
func (s *stage) socket() int {
	fd, err := unix.Socket(s.family(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	s.check(err)
	s.files = append(s.files, fd)
	s.check(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}))
	return fd
}

// nonblocking makes a socket whose connect does not wait.
func (s *stage) nonblocking() int {
	fd := s.socket()
	s.check(unix.SetNonblock(fd, true))
	return fd
}

func (s *stage) connect(fd int) error {
	if s.to.Addr().Is6() {
		return unix.Connect(fd, &unix.SockaddrInet6{Addr: s.to.Addr().As16(), Port: int(s.to.Port())})
	}
	return unix.Connect(fd, &unix.SockaddrInet4{Addr: s.to.Addr().As4(), Port: int(s.to.Port())})
}

// begin starts a connect that does not wait, and waits for its SYN.
func (s *stage) begin() int {
	fd := s.nonblocking()
	if err := s.connect(fd); !errors.Is(err, unix.EINPROGRESS) {
		s.check(fmt.Errorf("connect: %w", err))
	}
	s.check(s.peer.Await(peer.Us, peer.SYN, 1))
	return fd
}

// open makes a connection that both sides know to be established.
func (s *stage) open() int {
	fd := s.socket()
	s.check(s.connect(fd))
	s.check(s.peer.Await(peer.Us, peer.ACK, 1))
	return fd
}

// listen makes a listener on a port of its own, which it gives too.
func (s *stage) listen() (fd int, port uint16) {
	fd = s.socket()
	port = 5000 + uint16(s.to.Addr().As4()[3])
	s.check(unix.Bind(fd, &unix.SockaddrInet4{Addr: s.wire.Local.As4(), Port: int(port)}))
	s.check(unix.Listen(fd, 8))
	return fd, port
}

// accepted makes a connection that the peer began.
func (s *stage) accepted() int {
	listener, port := s.listen()
	s.peer.Connect(4000, port)
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	s.check(err)
	s.files = append(s.files, fd)
	s.close(listener)
	return fd
}

// write writes ten bytes.
func (s *stage) write(fd int) {
	_, err := unix.Write(fd, []byte("0123456789"))
	s.check(err)
}

// readAll reads until the end or an error, which it keeps.
func (s *stage) readAll(fd int) {
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) || n > 0 {
			continue
		}
		s.keep(err)
		return
	}
}

// soError waits until the socket has an error, and takes it.
func (s *stage) soError(fd int) {
	for range 2000 {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(poll, 10)
		if poll[0].Revents&unix.POLLERR == 0 || errors.Is(err, unix.EINTR) {
			continue
		}
		s.check(err)
		value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		s.check(err)
		s.saw, s.taken = unix.Errno(value), true
		return
	}
	s.check(errors.New("the socket had no error in 20 s"))
}

func (s *stage) close(fd int) {
	i := slices.Index(s.files, fd)
	s.files = slices.Delete(s.files, i, i+1)
	s.check(unix.Close(fd))
}

func (s *stage) shutdown(fd int) { s.check(unix.Shutdown(fd, unix.SHUT_WR)) }

func (s *stage) option(fd, level, name, value int) {
	s.check(unix.SetsockoptInt(fd, level, name, value))
}

// userTimeout bounds the wait for an acknowledgement (tcp(7), TCP_USER_TIMEOUT).
func (s *stage) userTimeout(fd int) {
	timeout := 700
	if inMachine { // where an ICMP error may come late
		timeout *= 3
	}
	s.option(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, timeout)
}

// keepalive lets the socket ask a silent peer twice, a second apart.
func (s *stage) keepalive(fd int) {
	s.option(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	s.option(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1)
	s.option(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1)
	s.option(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 1)
}

func (s *stage) abortOnClose(fd int) {
	s.check(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
}

// disconnect is connect(2) with AF_UNSPEC.
func (s *stage) disconnect(fd int) {
	var addr unix.RawSockaddrInet4
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&addr)), unsafe.Sizeof(addr)); errno != 0 {
		s.check(errno)
	}
}

// state waits until the socket is in a state.
func (s *stage) state(fd int, want uint8) {
	for range 2000 {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		s.check(err)
		if info.State == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.check(fmt.Errorf("the socket is not in state %d after 10 s", want))
}

// gone waits until the kernel's table has no connection to the peer.
func (s *stage) gone() {
	for range 2000 {
		b, err := os.ReadFile("/proc/thread-self/net/tcp")
		s.check(err)
		a := s.to.Addr().As4()
		if !bytes.Contains(b, fmt.Appendf(nil, " %02X%02X%02X%02X:", a[3], a[2], a[1], a[0])) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.check(errors.New("the connection is still there after 10 s"))
}

// hand gives the socket to another process, which holds nothing else of it, and
// kills that.
func (s *stage) kill(fd int) {
	exe, err := os.Executable()
	s.check(err)
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	s.check(err)
	file := os.NewFile(uintptr(dup), "socket")
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVar+"="+roleHold)
	cmd.ExtraFiles = []*os.File{file}
	stdin, err := cmd.StdinPipe()
	s.check(err)
	s.check(cmd.Start())
	s.check(file.Close())
	s.close(fd)
	s.check(cmd.Process.Kill())
	_ = cmd.Wait() // says that it was killed
	_ = stdin.Close()
}

// destroy ends a socket from outside, as ss -K does (SOCK_DESTROY, sock_diag(7)).
func (s *stage) destroy(fd int) {
	name, err := unix.Getsockname(fd)
	s.check(err)
	local := name.(*unix.SockaddrInet4)
	nl, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	s.check(err)
	defer unix.Close(nl)
	const sockDestroy, size = 21, unix.SizeofNlMsghdr + 56
	msg := make([]byte, size)
	native := binary.NativeEndian
	native.PutUint32(msg, size)
	native.PutUint16(msg[4:], sockDestroy)
	native.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	req := msg[unix.SizeofNlMsghdr:] // struct inet_diag_req_v2
	req[0], req[1] = unix.AF_INET, unix.IPPROTO_TCP
	native.PutUint32(req[4:], ^uint32(0))
	binary.BigEndian.PutUint16(req[8:], uint16(local.Port))
	binary.BigEndian.PutUint16(req[10:], s.to.Port())
	copy(req[12:], local.Addr[:])
	copy(req[28:], s.to.Addr().AsSlice())
	native.PutUint64(req[48:], ^uint64(0)) // no cookie
	s.check(unix.Sendto(nl, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	reply := make([]byte, 4096)
	n, _, err := unix.Recvfrom(nl, reply, 0)
	s.check(err)
	if n < unix.SizeofNlMsghdr+4 {
		s.check(errors.New("a short answer to SOCK_DESTROY"))
	}
	if code := int32(native.Uint32(reply[unix.SizeofNlMsghdr:])); code != 0 {
		s.check(fmt.Errorf("SOCK_DESTROY: %w", unix.Errno(-code)))
	}
}

func (s *stage) ip(args string) {
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		s.check(fmt.Errorf("ip %s: %w: %s", args, err, out))
	}
}

// run plays a part in the namespace.
func (s *stage) run(part func(*stage)) {
	testnet.In(s.t, s.netns, func() {
		defer func() {
			for _, fd := range s.files {
				_ = unix.Close(fd) // what the play left open
			}
			switch failure := recover().(type) {
			case nil:
			case stageFailure:
				if s.absent != "" {
					return
				}
				s.t.Errorf("%s: %v; wire:%s", s.name, failure.err, s.peer.Log())
			default:
				panic(failure)
			}
		}()
		part(s)
	})
}

// closeRecord is a tcp_close record.
type closeRecord struct {
	Event         string   `json:"event"`
	RemoteAddr    string   `json:"remote_addr"`
	Outcome       string   `json:"outcome"`
	Errno         string   `json:"errno"`
	ClosedBy      string   `json:"closed_by"`
	History       string   `json:"history"`
	BytesSent     *int     `json:"bytes_sent"`
	BytesReceived *int     `json:"bytes_received"`
	Hooks         []string `json:"hooks"`
}

// closes reads the close records so far, in their order, by the peer's address,
// and the hooks that are used.
func (tr *tracing) closes() (byPeer map[string][]closeRecord, hooks []string) {
	tr.t.Helper()
	b, err := os.ReadFile(tr.path)
	if err != nil {
		tr.t.Fatal(err)
	}
	byPeer = make(map[string][]closeRecord)
	for line := range bytes.Lines(b) {
		var r closeRecord
		if err := json.Unmarshal(line, &r); err != nil {
			break // it is being written
		}
		switch r.Event {
		case "start":
			hooks = r.Hooks
		case "tcp_close":
			byPeer[r.RemoteAddr] = append(byPeer[r.RemoteAddr], r)
		}
	}
	return byPeer, hooks
}

// setEndings makes a namespace whose timers are quick.
func setEndings(t *testing.T) string {
	netns := testnet.New(t)
	for name, value := range map[string]string{
		"tcp_syn_retries":     "1",
		"tcp_synack_retries":  "1",
		"tcp_retries2":        "3",
		"tcp_orphan_retries":  "2",
		"tcp_fin_timeout":     "2",
		"ip_local_port_range": "40000 40007",
	} {
		testnet.Set(t, netns, "net/ipv4/"+name, value)
	}
	return netns
}

// TestStreamEndings ends connections in every way that the kernel knows, and wants
// the reason of each.
func TestStreamEndings(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			skipVariant(t, v.hooks)
			netns := setEndings(t)
			wire := peer.Open(t, netns, 0)
			tr := trace(t, netns, v.hooks)
			var stages []*stage
			for _, e := range slices.Concat(endings, rejections, linked) {
				s := &stage{ending: &e, t: t, netns: netns, wire: wire, number: len(stages)}
				if e.alone {
					s.wire = peer.Open(t, netns, len(stages))
				}
				s.peer = s.wire.New(e.script)
				s.to = netip.AddrPortFrom(s.peer.Addr, peer.Port)
				if e.link != "" {
					s.far, e.offWire = testnet.New(t), true
					s.run(func(s *stage) { s.link(e.link == "ipv6") })
				}
				stages = append(stages, s)
			}
			first := len(endings) + len(rejections)
			playAll(stages[:first])
			playAll(stages[first:])
			tr.awaitCloses(stages)
			tr.quiet()
			byPeer, hooks := tr.closes()
			for _, s := range stages {
				s.judge(byPeer[s.to.Addr().String()], hooks)
			}
			tr.stop()
		})
	}
}

// playAll plays endings side by side, most of which wait: in a machine, which is slow,
// a few at a time.
func playAll(stages []*stage) {
	places := make(chan struct{}, len(stages))
	if inMachine {
		places = make(chan struct{}, 16)
	}
	var wg sync.WaitGroup
	for _, s := range stages {
		places <- struct{}{}
		wg.Go(func() {
			s.run(s.play)
			<-places
		})
	}
	wg.Wait()
}

// awaitCloses waits until each ending has its record, as far as one must come.
func (tr *tracing) awaitCloses(stages []*stage) {
	tr.t.Helper()
	for range 300 {
		byPeer, hooks := tr.closes()
		if !slices.ContainsFunc(stages, func(s *stage) bool {
			return len(byPeer[s.to.Addr().String()]) == 0 && s.absent == "" && !(s.silent && s.blind(hooks))
		}) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// leave closes a socket in FIN_WAIT2, of which the kernel keeps the little that it needs
// for half a minute, and not for the time of the other stages: a machine may stand still
// for that long. A child that another test starts has the file too, for a moment.
func (s *stage) leave(fd int) {
	s.option(fd, unix.IPPROTO_TCP, unix.TCP_LINGER2, 30)
	s.close(fd)
	time.Sleep(200 * time.Millisecond)
}

// blind reports whether the kernel does not say how this connection ends.
func (s *stage) blind(hooks []string) bool {
	if s.taken && os.Getenv("NETTRACE_KERNEL") == "5.10" {
		return true // it wakes the program before it ends the socket: SO_ERROR may be quicker
	}
	return s.hook != "" && !slices.ContainsFunc(hooks, func(h string) bool { return strings.Contains(h, s.hook) })
}

// judge holds the record of an ending against what the program and the wire saw.
func (s *stage) judge(closes []closeRecord, hooks []string) {
	s.t.Run(s.name, func(t *testing.T) {
		if s.absent != "" {
			t.Skip(s.absent)
		}
		t.Logf("program: %s; wire:%s", errnoName(s.saw), s.peer.Log())
		s.judgePlay(t)
		if s.silent && s.blind(hooks) {
			if len(closes) > 0 {
				t.Errorf("reported without a hook: %+v", closes)
			}
			return
		}
		for _, r := range closes {
			t.Logf("reported: %s %s %s %s", r.Outcome, r.Errno, r.ClosedBy, r.History)
		}
		if s.fillers { // which end in other ways
			closes = slices.DeleteFunc(closes, func(r closeRecord) bool { return r.Outcome != s.outcome })
		}
		if len(closes) != 1 {
			t.Fatalf("%d closes are reported as %s, want 1", len(closes), s.outcome)
		}
		s.judgeRecord(t, closes[0], s.blind(hooks))
	})
}

func errnoName(e unix.Errno) string {
	if e == 0 {
		return ""
	}
	return unix.ErrnoName(e)
}

// judgePlay makes sure that what happened is what the table says.
func (s *stage) judgePlay(t *testing.T) {
	want := s.errno
	if s.got != "" {
		want = s.got
	}
	if s.got == "none" || s.orphan {
		want = ""
	}
	if got := errnoName(s.saw); got != want {
		t.Errorf("the program got %q, want %q", got, want)
	}
	if s.fillers || s.offWire {
		return
	}
	if got := s.peer.FirstToClose(); got != s.closedBy {
		t.Errorf("on the wire %q was the first to close, want %q", got, s.closedBy)
	}
	switch s.outcome {
	case "reset_local":
		if s.peer.Count(peer.Us, peer.RST) == 0 {
			t.Error("this side sent no RST")
		}
	case "reset_remote", "refused":
		if s.peer.Count(peer.Them, peer.RST) == 0 {
			t.Error("the other side sent no RST")
		}
	case "unreachable", "rejected", "timeout_connect", "no_local_port":
		if s.peer.Count(peer.Them, peer.RST) != 0 {
			t.Error("the other side sent an RST")
		}
	}
	if got := s.peer.Bytes(peer.Us); got != s.wrote {
		t.Errorf("on the wire this side sent %d bytes, want %d", got, s.wrote)
	}
}

func (s *stage) judgeRecord(t *testing.T, r closeRecord, blind bool) {
	if r.Outcome != s.outcome && !(blind && r.Outcome == cmp.Or(s.without, "unknown")) {
		t.Errorf("outcome %q, want %q", r.Outcome, s.outcome)
	}
	if r.Errno != s.errno && !(blind && r.Errno == "") {
		t.Errorf("errno %q, want %q", r.Errno, s.errno)
	}
	if r.ClosedBy != s.closedBy && !(blind && r.ClosedBy == "") {
		t.Errorf("closed_by %q, want %q", r.ClosedBy, s.closedBy)
	}
	if s.walk != "" && r.History != s.walk {
		t.Errorf("history %q, want %q", r.History, s.walk)
	}
	if r.BytesSent == nil {
		return // only a full socket has counters
	}
	if *r.BytesSent != s.wrote || *r.BytesReceived != s.read {
		t.Errorf("%d bytes sent, %d received, want %d and %d", *r.BytesSent, *r.BytesReceived, s.wrote, s.read)
	}
}
