package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/internal/view"
)

// TestSources checks that sock_diag leads to the same bytes as /proc, for sockets in
// all states, listeners that share a bucket, and sockets that processes share.
func TestSources(t *testing.T) {
	netns := testnet.New(t)
	p := startLoad(t, load.Churn(21, 500*time.Millisecond), netns)
	if err := errors.Join(p.Go(), p.Done()); err != nil {
		t.Fatal(err)
	}
	holdOdd(t, netns)
	compared, bySource := 0, 0
	for _, uid := range []uint32{0, nobody} {
		for _, options := range socketLines(t) {
			t.Run(fmt.Sprintf("%s as %d", strings.Join(options, " "), uid), func(t *testing.T) {
				bySource += compareSources(t, netns, uid, options)
				compared++
			})
		}
	}
	t.Logf("%d compared, %d of them entirely from sock_diag", compared, bySource)
	if bySource == 0 {
		t.Error("sock_diag does not serve here")
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

// TestSourceRefused has a seccomp filter refuse sockets: the views must show what /proc
// has.
func TestSourceRefused(t *testing.T) {
	netns := testnet.New(t)
	holdOdd(t, netns)
	for _, option := range []string{"-tan", "-tanee", "-uan", "-tunl"} {
		want, stderr, status := nettraceIn(t, netns, 0, option, "--source=proc")
		if stderr != "" || status != 0 {
			t.Fatal(stderr, status)
		}
		cmd := refusedCommand(t, "socket", option)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		var err error
		testnet.In(t, netns, func() { err = cmd.Run() })
		if diff := cmp.Diff(want, out.String()); diff != "" || err != nil {
			t.Errorf("%s: error %v (-proc +refused):\n%.3000s", option, err, diff)
		}
	}
}

// socketLines are the command lines of socket views that end by themselves and have no
// timers, which run, and more.
func socketLines(t *testing.T) [][]string {
	t.Helper()
	lines := [][]string{
		{"-tan"}, {"-tanp"}, {"-tanpee"}, {"-tln"}, {"-t6n"}, {"-tanpW"}, {"-tane4"}, {"-tane6"}, {"-uan4e"}, {"-uane"}, {"-wane"}, {"-Uane"},
	}
	for _, trial := range without("o", oneShot()) {
		e, _, _ := testEnv("netstat")
		o, err := parse(e, append([]string{"netstat"}, trial.Args...))
		if err != nil || o == nil || !slices.Contains(trial.Args, "-n") && !strings.Contains(strings.Join(trial.Args, ""), "n") {
			continue // names would be asked for
		}
		if v, err := o.chosenView(); err == nil && v == view.Sockets {
			lines = append(lines, trial.Args)
		}
	}
	return lines
}

// compareSources compares the sources until the sockets are the same before and after.
// It returns 1 if sock_diag alone can show all, else 0.
func compareSources(t *testing.T, netns string, uid uint32, options []string) (bySource int) {
	t.Helper()
	run := func(source ...string) string {
		stdout, stderr, status := nettraceIn(t, netns, uid, slices.Concat(options, source)...)
		return fmt.Sprintf("%s-- stderr --\n%s-- status %d --\n", stdout, stderr, status)
	}
	for range 20 {
		before := run("--source=proc")
		chosen, forced := run(), run("--source=diag")
		if before != run("--source=proc") {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if diff := cmp.Diff(before, chosen); diff != "" {
			t.Errorf("(-proc +chosen):\n%.3000s", diff)
		}
		if strings.Contains(forced, "--source=diag: ") { // for lack of a module, as raw_diag
			return 0
		}
		if diff := cmp.Diff(before, forced); diff != "" {
			t.Errorf("(-proc +diag):\n%.3000s", diff)
		}
		return 1
	}
	t.Error("the sockets do not come to rest")
	return 0
}

// holdOdd opens sockets that a churn does not have: listeners that share a bucket,
// request sockets of a user's listener, a listener that was connected before, UDP
// and raw sockets with data and peers.
func holdOdd(t *testing.T, netns string) {
	t.Helper()
	var k odd
	testnet.In(t, netns, func() {
		k.listeners()
		k.requests()
		k.disconnected()
		k.datagrams()
	})
	t.Cleanup(func() {
		for _, fd := range k.open {
			_ = unix.Close(fd)
		}
	})
	if k.err != nil {
		t.Fatal(k.err)
	}
}

// odd are open sockets, and the first error.
type odd struct {
	open []int
	err  error
}

func (k *odd) must(err error) {
	if k.err == nil {
		k.err = err
	}
}

func (k *odd) socket(family, kind, protocol int) int {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		k.must(fmt.Errorf("socket %d %d %d: %w", family, kind, protocol, err))
		return -1
	}
	k.open = append(k.open, fd)
	return fd
}

func loopback4(port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

func loopback6(port int) unix.Sockaddr {
	return &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}
}

// listen opens a listener that shares its port.
func (k *odd) listen(family int, at unix.Sockaddr, backlog int) int {
	fd := k.socket(family, unix.SOCK_STREAM, 0)
	k.must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	k.must(unix.Bind(fd, at))
	k.must(unix.Listen(fd, backlog))
	return fd
}

func (k *odd) listeners() {
	for i := range 12 {
		k.listen(unix.AF_INET, loopback4(81), i)
		k.listen(unix.AF_INET6, loopback6(81), i)
		k.listen(unix.AF_INET6, &unix.SockaddrInet6{Port: 82}, i)
		k.listen(unix.AF_INET, &unix.SockaddrInet4{Port: 83 + i}, i)
	}
}

// requests makes request sockets of IPv4, IPv6 and mapped: the backlog is full.
func (k *odd) requests() {
	v4 := k.listen(unix.AF_INET, loopback4(98), 0)
	dual := k.listen(unix.AF_INET6, &unix.SockaddrInet6{Port: 99}, 0)
	for _, fd := range []int{v4, dual} {
		k.must(os.NewSyscallError("fchown", unix.Fchown(fd, nobody, nobody)))
	}
	for range 3 {
		for _, to := range []unix.Sockaddr{loopback4(98), loopback4(99), loopback6(99)} {
			family := unix.AF_INET
			if _, ok := to.(*unix.SockaddrInet6); ok {
				family = unix.AF_INET6
			}
			if err := unix.Connect(k.socket(family, unix.SOCK_STREAM, 0), to); !errors.Is(err, unix.EINPROGRESS) {
				k.must(err)
			}
		}
	}
}

// disconnected makes listeners that were connected before: their send queue is not 0.
func (k *odd) disconnected() {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		to := loopback4(81)
		if family == unix.AF_INET6 {
			to = loopback6(81)
		}
		fd := k.socket(family, unix.SOCK_STREAM, 0)
		if err := unix.Connect(fd, to); !errors.Is(err, unix.EINPROGRESS) {
			k.must(err)
		}
		time.Sleep(20 * time.Millisecond)
		k.must(load.Disconnect(fd))
		k.must(unix.Listen(fd, 5))
	}
}

func (k *odd) datagrams() {
	for port := 5000; port < 5040; port++ {
		k.must(unix.Bind(k.socket(unix.AF_INET, unix.SOCK_DGRAM, 0), loopback4(port)))
		k.must(unix.Bind(k.socket(unix.AF_INET6, unix.SOCK_DGRAM, 0), &unix.SockaddrInet6{Port: port + 1000}))
	}
	for _, to := range []unix.Sockaddr{loopback4(5000), &unix.SockaddrInet6{Port: 5001, Addr: [16]byte{10: 255, 11: 255, 12: 127, 15: 1}}, loopback6(6001)} {
		family := unix.AF_INET
		if _, ok := to.(*unix.SockaddrInet6); ok {
			family = unix.AF_INET6
		}
		fd := k.socket(family, unix.SOCK_DGRAM, 0)
		k.must(unix.Connect(fd, to))
		_, err := unix.Write(fd, make([]byte, 100))
		k.must(err)
	}
	for _, protocol := range []int{unix.IPPROTO_UDP, 47, 253, 255, 254} {
		k.must(unix.Connect(k.socket(unix.AF_INET, unix.SOCK_RAW, protocol), loopback4(7)))
		k.socket(unix.AF_INET6, unix.SOCK_RAW, protocol)
		k.must(unix.Bind(k.socket(unix.AF_INET6, unix.SOCK_RAW, protocol), loopback6(0)))
	}
}

// written is what a process has written so far.
type written struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// TestStreamSourceRefused has a seccomp filter refuse sockets: the stream shows and follows
// what /proc has, and says so.
func TestStreamSourceRefused(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip("needs a kernel with BTF: ", err)
	}
	netns := newNetns(t)
	p := startLoad(t, load.Holder(0, 5), netns)
	if err := errors.Join(p.Go(), p.Done()); err != nil {
		t.Fatal(err)
	}
	cmd := refusedCommand(t, "socket", "--json", "-ac", "--require-bpf", "--netns", netns)
	var out, stderr written
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait := func(text string, n int) {
		t.Helper()
		for range 3000 {
			if strings.Count(out.String(), text) >= n {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("no %d of %s; stderr: %s\n%.2000s", n, text, stderr.String(), out.String())
	}
	wait(`"snapshot_end"`, 1)
	if n := strings.Count(out.String(), `"state":"ESTABLISHED"`); n != 10 {
		t.Errorf("%d ends of connections are shown, want 10", n)
	}
	if err := p.Stop(); err != nil { // closes them
		t.Fatal(err)
	}
	wait(`"event":"tcp_close"`, 10)
	if err := errors.Join(cmd.Process.Signal(unix.SIGTERM), cmd.Wait()); err != nil {
		t.Error(err)
	}
	start, _, _ := strings.Cut(out.String(), "\n")
	if !strings.Contains(start, "no hook for rows") || strings.Contains(start, "sock_diag") || strings.Contains(out.String(), `"inferred":true`) {
		t.Errorf("the start record says %s", start)
	}
	said, err := refusedCommand(t, "socket", "--doctor").Output()
	if err != nil || !bytes.Contains(said, []byte("the kernel's table is read from /proc")) || !bytes.Contains(said, []byte("sock_diag/tcp: ")) {
		t.Errorf("%v, the doctor says %s", err, said)
	}
}
