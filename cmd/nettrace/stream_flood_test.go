package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/netns"
	"github.com/nettrace/nettrace/internal/testnet"
)

// floodVar names an environment variable with how long TestStreamFlood lasts.
const floodVar = "NETTRACE_FLOOD"

// Each thread of the flood makes so many connections between two pauses.
const (
	floodBurst = 64
	floodPause = 4 * time.Millisecond
)

// TestStreamFlood has several threads connect and close at full speed to a listener whose
// queue is full and that is closed again and again, without SYN cookies, while nettrace
// reads the kernel's table ten times a second. Its log must not complain of it: of
// references that were taken on freed sockets, or of sockets that somebody else owns
// (inet_csk_listen_stop). BPF iterators over TCP lead to both.
func TestStreamFlood(t *testing.T) {
	last := 10 * time.Second
	if v := os.Getenv(floodVar); v != "" {
		var err error
		if last, err = time.ParseDuration(v); err != nil {
			t.Fatal(floodVar, ": ", err)
		}
	}
	log := openKernelLog(t)
	network := newNetns(t)
	testnet.Set(t, network, "net/ipv4/tcp_syncookies", "0")
	cmd := nettraceCommand(t, "--json", "-ac", "--require-bpf", "--interval", "1h", "--netns", network)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Before the flood, which would leave it no time to read the table.
	if err := unix.Setpriority(unix.PRIO_PROCESS, cmd.Process.Pid, -15); err != nil {
		t.Error(err)
	}
	records := make(chan map[string]int, 1)
	started := make(chan struct{})
	go func() { records <- countRecords(t, out, started) }()
	select {
	case <-started:
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		t.Fatalf("nettrace does not start: %s", stderr.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), last)
	defer cancel()
	connections := flood(ctx, t, network, func() {
		if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Error(err)
		}
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	counts := <-records
	if err := cmd.Wait(); err != nil {
		t.Errorf("nettrace: %v; stderr: %s", err, stderr.String())
	}
	if counts["resync"] == 0 || counts["tcp_state"] == 0 || connections == 0 {
		t.Errorf("the test tests nothing: %d connections, records %v", connections, counts)
	}
	t.Logf("%v, %d connections, records %v", last, connections, counts)
	if complaints := log.complaints(); len(complaints) > 0 {
		t.Errorf("the kernel complains:\n%s", strings.Join(complaints, "\n"))
	}
}

// countRecords counts records by kind until the end, and closes started after the initial
// table. It logs some of what only a comparison found.
func countRecords(t *testing.T, out io.Reader, started chan<- struct{}) map[string]int {
	counts := make(map[string]int)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		_, after, _ := bytes.Cut(lines.Bytes(), []byte(`"event":"`))
		kind, _, _ := bytes.Cut(after, []byte(`"`))
		if counts[string(kind)]++; string(kind) == "snapshot_end" {
			close(started)
		}
		if bytes.Contains(lines.Bytes(), []byte(`"inferred":true`)) {
			if counts["inferred"]++; counts["inferred"] <= 12 {
				t.Logf("inferred: %s", lines.Text())
			}
		}
	}
	return counts
}

// flood makes connections until the context ends, and calls each ten times a second
// meanwhile. It returns how many were tried.
func flood(ctx context.Context, t *testing.T, network string, each func()) (connections int) {
	t.Helper()
	port := make(chan int, 1)
	var wg sync.WaitGroup
	in := func(f func() error) {
		wg.Go(func() {
			if err := netns.Do(network, f); err != nil {
				t.Error(err)
			}
		})
	}
	in(func() error { return listenAgain(ctx, port) })
	to := <-port
	counts := make([]int, 3)
	for i := range counts {
		in(func() error {
			for ; ctx.Err() == nil; counts[i]++ {
				if err := connectAndClose(to); err != nil {
					return err
				}
				if counts[i]%floodBurst == 0 { // nettrace would not get to reading the table
					time.Sleep(floodPause)
				}
			}
			return nil
		})
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			each()
		case <-ctx.Done():
		}
	}
	wg.Wait()
	for _, n := range counts {
		connections += n
	}
	return connections
}

// listenAgain listens on one port, accepts a few connections, closes the listener with
// what is in its queues, and begins anew. It sends the port once it is known.
func listenAgain(ctx context.Context, port chan<- int) error {
	at := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 8080}
	for told := false; ctx.Err() == nil; told = true {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, at), unix.Listen(fd, 8))
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		if !told {
			port <- at.Port
		}
		time.Sleep(time.Millisecond)
		for range 4 {
			if accepted, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC); err == nil {
				_ = unix.Close(accepted)
			}
		}
		time.Sleep(time.Millisecond)
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}

// connectAndClose begins a connection and ends it by a RST at once, so that it leaves no
// timewait socket that would keep its port.
func connectAndClose(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	_ = unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}) // refused, under way, or there
	err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	return errors.Join(err, unix.Close(fd))
}

// kernelLog reads what the kernel logs from now on.
type kernelLog struct{ fd int }

func openKernelLog(t *testing.T) kernelLog {
	t.Helper()
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("needs the kernel's log: ", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		t.Skip("needs the kernel's log: ", err)
	}
	return kernelLog{fd}
}

// complaints returns the lines that say that memory of sockets was used wrongly.
func (l kernelLog) complaints() (lines []string) {
	buf := make([]byte, 8192) // one record a read (Documentation/ABI/testing/dev-kmsg)
	for {
		n, err := unix.Read(l.fd, buf)
		switch {
		case errors.Is(err, unix.EPIPE): // records were overwritten
			continue
		case err != nil || n <= 0:
			return lines
		}
		_, text, _ := strings.Cut(string(buf[:n]), ";")
		for _, word := range []string{"refcount", "inet_csk_listen_stop", "use-after-free", "BUG:", "Oops", "general protection"} {
			if strings.Contains(text, word) {
				lines = append(lines, strings.TrimSpace(text))
				break
			}
		}
	}
}

// TestKernelLog has a complaint in the log: it is found, and other lines are none.
func TestKernelLog(t *testing.T) {
	log := openKernelLog(t)
	w, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs to write to the kernel's log: ", err)
	}
	defer w.Close()
	for _, line := range []string{"nettrace: a line of a test\n", "nettrace: test of refcount_t: none is wrong\n"} {
		if _, err := w.WriteString(line); err != nil {
			t.Skip("needs to write to the kernel's log: ", err)
		}
	}
	if got := log.complaints(); len(got) != 1 || !strings.Contains(got[0], "test of refcount_t") {
		t.Errorf("found %q", got)
	}
}
