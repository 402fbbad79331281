package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
)

// screen is a terminal and what was written to it.
type screen struct {
	t       *testing.T
	master  *os.File // what is written to it is typed
	slave   *os.File
	mu      sync.Mutex
	written strings.Builder
	done    chan struct{} // nothing more can come
}

// newScreen returns a terminal of so many columns.
func newScreen(t *testing.T, columns uint16) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs pseudo-terminals: ", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, master: master, done: make(chan struct{})}
	if s.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.slave.Close() })
	s.resize(columns)
	go s.read(master)
	return s
}

func (s *screen) read(master io.Reader) {
	defer close(s.done)
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		s.mu.Lock()
		s.written.Write(buf[:n])
		s.mu.Unlock()
		if err != nil { // EIO: nobody has the terminal open any more
			return
		}
	}
}

// text returns what is written so far. The terminal makes \r\n of \n.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(s.written.String(), "\r\n", "\n")
}

// forget forgets what is written so far.
func (s *screen) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written.Reset()
}

// wait waits until the text has a word.
func (s *screen) wait(word string) {
	s.t.Helper()
	for range 6000 {
		if strings.Contains(s.text(), word) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("no %q came:\n%s", word, s.text())
}

// settle waits until nothing more is written.
func (s *screen) settle() {
	pause := 300 * time.Millisecond
	if inMachine {
		pause *= 5
	}
	for before := ""; before != s.text(); time.Sleep(pause) {
		before = s.text()
	}
}

// resize gives the terminal another width.
func (s *screen) resize(columns uint16) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		s.t.Error(err)
	}
}

// stop ends what writes to the terminal and returns all that it wrote.
func (s *screen) stop(cmd *exec.Cmd) string {
	s.t.Helper()
	if err := errors.Join(cmd.Process.Signal(syscall.SIGINT), cmd.Wait(), s.slave.Close()); err != nil {
		s.t.Errorf("%v:\n%s", err, s.text())
	}
	<-s.done
	return s.text()
}

// longConnection makes a connection between the longest addresses that a
// namespace has without more ado, and ends it.
func longConnection(t *testing.T, netns string) {
	t.Helper()
	testnet.In(t, netns, func() {
		server, client := [4]byte{127, 100, 100, 100}, [4]byte{127, 200, 200, 200}
		if err := connectOnce(&unix.SockaddrInet4{Port: 54321, Addr: server}, &unix.SockaddrInet4{Port: 43210, Addr: client}); err != nil {
			t.Error(err)
		}
	})
}

func connectOnce(server, client unix.Sockaddr) error {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(listener)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = errors.Join(unix.Bind(listener, server), unix.Listen(listener, 1), unix.Bind(fd, client), unix.Connect(fd, server))
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	accepted, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	return errors.Join(err, unix.Close(fd), unix.Close(accepted))
}

// sequence is what a terminal obeys and does not show.
var sequence = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// TestTerminals streams connections to terminals. No line with IPv4
// addresses, of the initial table and of the changes, may be wider than they are,
// and how each connection of the story ended must be there.
func TestTerminals(t *testing.T) {
	for _, c := range []struct {
		columns uint16
		option  string
		env     []string
		has     []string
	}{
		{80, "-acp", []string{"LC_ALL=C.UTF-8", "TERM=xterm"}, []string{"↑", "\x1b[1;31mrefused", "\x1b[1;31mreset"}},
		{120, "-acp", []string{"LC_ALL=C.UTF-8", "TERM=xterm"}, []string{"↑", "\x1b[1;31mrefused", "\x1b[1;31mreset"}},
		{80, "-ac", []string{"LC_ALL=C", "TERM=dumb"}, []string{" out "}},
	} {
		t.Run(fmt.Sprint(c.columns, c.env), func(t *testing.T) {
			netns := newNetns(t)
			server := startLoad(t, load.Server(), netns)
			holder := startLoad(t, load.Holder(3_000_000, 3), netns)
			if err := errors.Join(holder.Go(), holder.Done()); err != nil {
				t.Fatal(err)
			}
			s := newScreen(t, c.columns)
			cmd := s.nettrace(c.env, c.option, "--require-bpf", "--netns", netns)
			longConnection(t, netns)
			if err := errors.Join(holder.Stop(), server.Stop()); err != nil {
				t.Error(err)
			}
			runLoad(t, load.Story(), netns)
			s.settle()
			s.resize(200)
			s.wait("PROTO")
			text, _, _ := strings.Cut(s.stop(cmd), "\nTIME            PROTO")
			checkWarnings(t, text, netns)
			table, _, _ := strings.Cut(text, "\n# ")
			if c.columns == 120 && !strings.Contains(table, " "+os.Args[0][:8]) {
				t.Errorf("-p, and no command line in the table:\n%s", table)
			}
			checkScreen(t, text, int(c.columns), c.has)
			if ascii := !strings.ContainsFunc(text, func(r rune) bool { return r == '\x1b' || r >= utf8.RuneSelf }); ascii != (c.env[0] == "LC_ALL=C") {
				t.Errorf("%s, and it is plain ASCII: %v", c.env[0], ascii)
			}
		})
	}
}

// nettrace starts a stream on the terminal and waits for its header.
func (s *screen) nettrace(env []string, args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := nettraceCommand(s.t, args...)
	cmd.Env = append(append(cmd.Env, "COLUMNS=", "NO_COLOR="), env...)
	cmd.Stdout, cmd.Stderr = s.slave, s.slave
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { // in case the test fails before stop
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s.wait("PID/PROGRAM")
	return cmd
}

// checkWarnings checks that what the hooks of this machine cannot do is said once
// each, as it stands in the start record.
func checkWarnings(t *testing.T, text, netns string) {
	t.Helper()
	stdout, stderr, _ := nettraceIn(t, netns, 0, "-c", "--json", "--require-bpf", "--duration", "10ms", "--netns", netns) // as the terminal has it
	first, _, _ := strings.Cut(stdout, "\n")
	var start struct {
		Inexact []string `json:"inexact"`
	}
	if err := json.Unmarshal([]byte(first), &start); err != nil {
		t.Fatalf("%v: %s%s", err, first, stderr)
	}
	for _, what := range start.Inexact {
		if strings.Count(text, what) != 1 {
			t.Errorf("the terminal should have once: %s", what)
		}
	}
	if n := strings.Count(text, "see nettrace --doctor"); n != len(start.Inexact) {
		t.Errorf("%d warnings on the terminal, %d in the start record", n, len(start.Inexact))
	}
}

func checkScreen(t *testing.T, text string, columns int, has []string) {
	t.Helper()
	for _, want := range append(has, "\n# 20", "LISTN>CLOSE", "127.100.100.100:54321", "127.109.198.19", "refused", "reset by peer", "closed") {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	for line := range strings.Lines(sequence.ReplaceAllString(text, "")) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > columns && !strings.HasPrefix(line, "nettrace: ") {
			t.Errorf("%d cells on %d columns: %s", n, columns, line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
