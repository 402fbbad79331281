package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// shipped is a running nettrace that writes to places.
type shipped struct {
	t      *testing.T
	netns  string
	cmd    *exec.Cmd
	stdout syncBuffer
	stderr syncBuffer
	conns  int // that the load has made
}

// ship starts nettrace with an output, on a namespace of its own.
func ship(t *testing.T, outputs ...string) *shipped {
	t.Helper()
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil && !inMachine {
		t.Skip("needs a kernel with BTF: ", err)
	}
	s := &shipped{t: t, netns: newNetns(t)}
	args := []string{"-c", "--require-bpf", "--interval", "1h", "--netns", s.netns, "--ring-size", "64M"}
	for _, o := range outputs {
		args = append(args, "--output", o)
	}
	s.cmd = nettraceCommand(t, args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // in case the test fails before stop
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
	return s
}

// connect has the load make connections, which are refused: a close for each.
func (s *shipped) connect(n int) {
	s.t.Helper()
	runLoad(s.t, load.Client(1, n, load.Refused), s.netns)
	s.conns += n
}

// until waits for something.
func (s *shipped) until(what string, done func() bool) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s has not happened; stderr: %s", what, s.stderr.String())
		}
	}
}

// has returns what reports whether a file has a text in it.
func has(path, text string) func() bool {
	return func() bool {
		b, err := os.ReadFile(path)
		return err == nil && bytes.Contains(b, []byte(text))
	}
}

// stop ends nettrace, which has to succeed, with so many lines on stderr and nothing on
// stdout.
func (s *shipped) stop(notices int) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		s.t.Fatalf("%v; stderr: %s", err, s.stderr.String())
	}
	if out := s.stdout.String(); out != "" {
		s.t.Errorf("stdout has %.100q", out)
	}
	if errs := s.stderr.String(); strings.Count(errs, "\n") != notices {
		s.t.Errorf("stderr has %q, want %d lines", errs, notices)
	}
}

// judge reads the records of files in their order. Each has to be there once, each file
// to begin with a start record of the reason given, and the end of each connection to be
// told of.
func (s *shipped) judge(texts [][]byte, reasons ...string) {
	s.t.Helper()
	var all []lossRecord
	var begins []string
	for i, text := range texts {
		records := parseLosses(s.t, text)
		if len(records) == 0 || records[0].Event != "start" || records[0].FileSeq != i+1 {
			s.t.Fatalf("file %d begins with %.200q", i, text)
		}
		begins = append(begins, records[0].Reason)
		all = append(all, records...)
	}
	if !slices.Equal(begins, reasons) {
		s.t.Errorf("files begin because of %q, want %q", begins, reasons)
	}
	sum := count(s.t, all)
	if last := all[len(all)-1]; all[0].Seq != 1 || last.Event != "stop" {
		s.t.Errorf("the records are from %+v to %+v", all[0], last)
	}
	if sum.closes != s.conns || len(sum.lost) > 0 {
		s.t.Errorf("%d closes of %d connections, lost %v", sum.closes, s.conns, sum.lost)
	}
}

// parseLosses reads whole lines.
func parseLosses(t *testing.T, text []byte) (records []lossRecord) {
	t.Helper()
	for line := range bytes.Lines(text) {
		var r lossRecord
		if err := json.Unmarshal(line, &r); err != nil || !bytes.HasSuffix(line, []byte("\n")) {
			t.Fatalf("%v: %.200q", err, line)
		}
		records = append(records, r)
	}
	return records
}

func (s *shipped) read(paths ...string) (texts [][]byte) {
	s.t.Helper()
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			s.t.Fatal(err)
		}
		texts = append(texts, text)
	}
	return texts
}

// TestSignalsAtTheStart sends what must not end a run while its hooks are loaded: logrotate
// knows nothing of that.
func TestSignalsAtTheStart(t *testing.T) {
	path := t.TempDir() + "/records"
	s := ship(t, path)
	s.until("the file", func() bool { _, err := os.Stat(path); return err == nil })
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1} {
		if err := s.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	s.until("the table at the start", has(path, `"snapshot_end"`))
	s.stop(0)
}

// TestOutputFile writes a file that is renamed amidst a load, with SIGHUP and without,
// and rotated by its size.
func TestOutputFile(t *testing.T) {
	t.Parallel() // it waits
	path := filepath.Join(t.TempDir(), "out")
	s := ship(t, path+",rotate-size=300K")
	s.until("the start", has(path, `"snapshot_end"`))
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.until("the file after SIGHUP", has(path, `"reopen"`))
	s.connect(1000)
	if err := os.Rename(path, path+".again"); err != nil {
		t.Fatal(err)
	}
	s.until("the file after the rename", has(path, `"reopen"`))
	s.until("the rotation", func() bool {
		s.connect(300)
		return has(path+".1", `"reopen"`)()
	})
	s.stop(0)
	s.judge(s.read(path+".moved", path+".again", path+".1", path), "start", "reopen", "reopen", "rotate")
}

// TestOutputTwice has two outputs, each with its own numbers, fields and events.
func TestOutputTwice(t *testing.T) {
	dir := t.TempDir()
	s := ship(t, dir+"/all", dir+"/closes,events=close,fields=outcome+pid")
	s.until("the start", has(dir+"/all", `"snapshot_end"`))
	s.connect(500)
	s.stop(0)
	s.judge(s.read(dir+"/all"), "start")
	s.judge(s.read(dir+"/closes"), "start")
	if closes := s.read(dir + "/closes")[0]; bytes.Contains(closes, []byte(`"tcp_state"`)) || bytes.Contains(closes, []byte(`"local_addr"`)) {
		t.Error("the second output has what only the first should have")
	}
}

// TestOutputFullDisk fills the disk. Nothing is lost that fits into the queue, and the
// run goes on when there is room.
func TestOutputFullDisk(t *testing.T) {
	t.Parallel() // it waits
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a tmpfs needs root: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	path := dir + "/out"
	s := ship(t, path)
	s.until("the start", has(path, `"snapshot_end"`))
	s.connect(2000)
	told := "nettrace: write " + path + ": no space left on device"
	s.until("the message", func() bool { return strings.Contains(s.stderr.String(), told) })
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	s.until("the recovery", func() bool { return strings.Contains(s.stderr.String(), path+" works again") })
	s.stop(2)
	s.judge(s.read(path), "start")
}

// TestOutputFullAtEnd ends a run while the disk is full: it says what was not written.
func TestOutputFullAtEnd(t *testing.T) {
	t.Parallel() // it waits
	s := ship(t, "/dev/full")
	s.until("the message", func() bool { return strings.Contains(s.stderr.String(), "no space left on device") })
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait() // the status is looked at
	errs := s.stderr.String()
	if status := s.cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(errs, "/dev/full: ") || !strings.Contains(errs, "could not be delivered") {
		t.Errorf("status %d, stderr %q", status, errs)
	}
}

// TestOutputSocket has a receiver that comes late, goes when it has all so far, and
// comes back.
func TestOutputSocket(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			address := filepath.Join(t.TempDir(), "s")
			if network == "tcp" {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				address = l.Addr().String()
				l.Close()
			}
			s := ship(t, network+":"+address)
			s.until("the message", func() bool { return strings.Contains(s.stderr.String(), "; it is tried again") })
			s.connect(500)
			first := s.receive(network, address)
			s.has(first, 500)
			time.Sleep(4 * time.Second) // a tcp peer that closes earlier is taken for one that never sends
			first.conn.Close()
			s.until("the leaving", func() bool { return !waitsForClose(t, address) })
			s.connect(500)
			second := s.receive(network, address)
			s.has(second, 500)
			s.stop(2) // the second outage comes within a minute
			<-second.done
			s.judge([][]byte{[]byte(first.text.String()), []byte(second.text.String())}, "start", "reconnect")
		})
	}
}

// receiver is a connection that is read.
type receiver struct {
	conn net.Conn
	text syncBuffer
	done chan struct{}
}

// receive listens until nettrace comes, and then reads.
func (s *shipped) receive(network, address string) *receiver {
	s.t.Helper()
	_ = os.Remove(address)
	l, err := net.Listen(network, address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	r := &receiver{conn: c, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer c.Close()
		_, _ = io.Copy(&r.text, c) // what came is judged
	}()
	return r
}

// has waits for the ends of so many connections.
func (s *shipped) has(r *receiver, n int) {
	s.t.Helper()
	s.until("what was made so far", func() bool { return strings.Count(r.text.String(), `"event":"tcp_close"`) == n })
}

// waitsForClose reports whether a tcp socket has a peer at an address that has closed.
// nettrace looks for that each second; what it sends to such a peer would be lost.
func waitsForClose(t *testing.T, address string) bool {
	t.Helper()
	peer, err := netip.ParseAddrPort(address)
	if err != nil {
		return false // of a unix socket
	}
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(table, fmt.Appendf(nil, ":%04X 08 ", peer.Port())) // TCP_CLOSE_WAIT
}

// TestOutputRefused checks what is told, and the status, before anything is traced.
func TestOutputRefused(t *testing.T) {
	dir, netns := t.TempDir(), newNetns(t)
	file, err := os.OpenFile(dir+"/locked", os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"-c", "--output", dir}, 1, "open DIR: is a directory"},
		{[]string{"-c", "--output", dir + "/no/file"}, 1, "open DIR/no/file: no such file or directory (its directory DIR/no is missing)"},
		{[]string{"-c", "--output", dir + "/locked"}, 1, "open DIR/locked: another nettrace writes to it (it is locked): give each a file of its own"},
		{[]string{"-c", "--output", dir + "/f,event=all"}, 3, "option '--output': no key 'event', near: events"},
		{[]string{"-c", "--output", dir + "/f", "--output", dir + "/f"}, 3, "option '--output': DIR/f stands twice"},
		{[]string{"-c", "--output", dir + "/f,fields=pod"}, 3, "option '--output': key 'fields'"},
		{[]string{"-t", "--output", dir + "/f"}, 3, "need -c"},
		{[]string{"-c", "--rotate-keep", "0"}, 3, "option '--rotate-keep' needs a number from 1 to 1000, not '0'"},
	} {
		stdout, stderr, status := nettraceIn(t, netns, 0, test.args...)
		want := strings.ReplaceAll(test.want, "DIR", dir)
		if status != test.status || !strings.Contains(stderr, want) || stdout != "" {
			t.Errorf("%q: status %d, %q, %q\n\twant status %d, %q", test.args, status, stdout, stderr, test.status, want)
		}
		if _, err := os.Stat(dir + "/f"); err == nil {
			t.Errorf("%q: a file was made", test.args)
		}
	}
}
