package tracer

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/tracer/table"
)

// procTree is a tree like /proc that a test writes.
type procTree struct {
	t    *testing.T
	root string
}

func newProcTree(t *testing.T) procTree {
	t.Helper()
	p := procTree{t, t.TempDir()}
	p.write("net/tcp", procHeader)
	p.write("net/tcp6", procHeader)
	return p
}

func (p procTree) write(name, content string) {
	p.t.Helper()
	path := filepath.Join(p.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	// A reader must not see half of it.
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		p.t.Fatal(err)
	}
}

// process adds a process with a socket.
func (p procTree) process(pid, inode int, comm string) {
	p.t.Helper()
	dir := fmt.Sprint(pid)
	p.write(dir+"/comm", comm+"\n")
	p.write(dir+"/cmdline", comm+"\x00-x\x00")
	fd := filepath.Join(p.root, dir, "fd")
	if err := os.Mkdir(fd, 0o755); err != nil {
		p.t.Fatal(err)
	}
	for link, target := range map[string]string{
		fd + "/3":                         fmt.Sprintf("socket:[%d]", inode),
		filepath.Join(p.root, dir, "exe"): "/usr/bin/" + comm,
	} {
		if err := os.Symlink(target, link); err != nil {
			p.t.Fatal(err)
		}
	}
}

const (
	procHeader  = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	procListen  = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 41 1 0000000000000000 100 0 0 10 0\n"
	procOpen    = "   1: 0100007F:1F90 0100007F:C001 01 00000000:00000002 00:00000000 00000000  1000        0 42 1 0000000000000000 20 4 30 10 -1\n"
	procWaits   = "   1: 0100007F:1F90 0100007F:C001 08 00000000:00000002 00:00000000 00000000  1000        0 42 1 0000000000000000 20 4 30 10 -1\n"
	procListen6 = "   0: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 43 1 0000000000000000 100 0 0 10 0\n"
)

// script is a handler that changes the tree each time that it is idle, and ends
// the run with the last step. It writes down what it receives.
type script struct {
	got    []string
	steps  []func()
	cancel context.CancelFunc
}

func (s *script) note(format string, args ...any) {
	s.got = append(s.got, fmt.Sprintf(format, args...))
}

func (s *script) Snapshot(rows iter.Seq[*table.Conn], _ time.Duration) error {
	var listed []string
	for c := range rows {
		listed = append(listed, fmt.Sprintf("row %v %v %v", c.Local, c.Remote, c.State))
	}
	slices.Sort(listed)
	s.got = append(s.got, listed...)
	return nil
}

func (s *script) Change(c *table.Change) error {
	owner := "nobody"
	if p := c.Conn.Owner.Process; p != nil {
		owner = fmt.Sprintf("%d %s %q %s", p.PID, p.Comm, p.Cmdline, p.Exe)
	}
	switch c.Kind {
	case table.ChangeState:
		s.note("%v %v %v -> %v inferred %t, %s", c.Conn.Local, c.Conn.Remote, c.Old, c.New, c.Inferred, owner)
	case table.ChangeClose:
		s.note("%v %v closed, %s", c.Conn.Local, c.Conn.Remote, owner)
	case table.ChangeOwner:
		s.note("%v %v %v, %s", c.Conn.Local, c.Conn.Remote, c.Conn.State, owner)
	}
	return nil
}

func (s *script) Lost(l Lost) error {
	s.note("lost %+v", l)
	return nil
}

func (s *script) Inexact(what string) error {
	s.got = append(s.got, "inexact: "+what)
	return nil
}

func (s *script) Sockets(rows iter.Seq[*table.Socket]) error {
	for row := range rows {
		s.note("row %v %v %v %d", row.Protocol, row.Local, row.Remote, row.State)
	}
	return nil
}

func (s *script) Socket(c *table.SocketChange) error {
	owner := "nobody"
	if p := c.Socket.Owner.Process; p != nil {
		owner = fmt.Sprintf("%d %s", p.PID, p.Comm)
	}
	s.note("%v %v %v %v %v, %s", c.Socket.Protocol, c.Socket.Local, c.Socket.Remote, c.Kind, c.Source, owner)
	return nil
}

func (s *script) Resync(r table.Resync) error {
	s.note("resync %+v", r)
	return nil
}

func (s *script) Idle() error {
	if len(s.steps) == 0 {
		s.cancel()
		return nil
	}
	s.steps[0]()
	s.steps = s.steps[1:]
	return nil
}

// poll runs a poller over the tree, one step for each time that it has polled.
func (p procTree) poll(poller *Poller, steps ...func()) []string {
	p.t.Helper()
	poller.Proc, poller.every = p.root, time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := &script{steps: steps, cancel: cancel}
	if err := poller.Run(ctx, s); err != nil {
		p.t.Fatal(err)
	}
	return s.got
}

// TestPoll has a connection come, be half-closed and go, in a tree like /proc.
func TestPoll(t *testing.T) {
	p := newProcTree(t)
	p.write("net/tcp", procHeader+procListen)
	p.write("net/tcp6", procHeader+procListen6)
	var poller Poller
	if got := poller.Stats(); got != (Stats{}) {
		t.Errorf("counted before the run: %+v", got)
	}
	got := p.poll(&poller,
		func() {
			p.process(7, 42, "server")
			p.write("net/tcp", procHeader+procListen+procOpen)
		},
		func() { p.write("net/tcp", procHeader+procListen+procWaits) },
		func() { p.write("net/tcp", procHeader+procListen) },
	)
	want := []string{
		"row 127.0.0.1:8080 0.0.0.0:0 LISTEN",
		"row [::1]:8081 [::]:0 LISTEN",
		// Owners are looked for after the rows were read.
		"127.0.0.1:8080 127.0.0.1:49153 CLOSE -> ESTABLISHED inferred true, nobody",
		`127.0.0.1:8080 127.0.0.1:49153 ESTABLISHED, 7 server "server\x00-x" /usr/bin/server`,
		`127.0.0.1:8080 127.0.0.1:49153 ESTABLISHED -> CLOSE_WAIT inferred true, 7 server "server\x00-x" /usr/bin/server`,
		`127.0.0.1:8080 127.0.0.1:49153 CLOSE_WAIT -> CLOSE inferred true, 7 server "server\x00-x" /usr/bin/server`,
		`127.0.0.1:8080 127.0.0.1:49153 closed, 7 server "server\x00-x" /usr/bin/server`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	stats := poller.Stats()
	if want := (table.Stats{Opened: 1, Closed: 1, Reported: 5}); stats.Table != want {
		t.Errorf("counted %+v, want %+v", stats.Table, want)
	}
}

// TestPollFamily polls one address family.
func TestPollFamily(t *testing.T) {
	p := newProcTree(t)
	p.write("net/tcp", procHeader+procListen)
	p.write("net/tcp6", procHeader+procListen6)
	for family, want := range map[uint16][]string{
		unix.AF_INET:  {"row 127.0.0.1:8080 0.0.0.0:0 LISTEN"},
		unix.AF_INET6: {"row [::1]:8081 [::]:0 LISTEN"},
	} {
		if d := cmp.Diff(want, p.poll(&Poller{Family: family})); d != "" {
			t.Error(d)
		}
	}
}

// TestPollSharedListeners has three listeners of one address, by SO_REUSEPORT, of
// which one ends.
func TestPollSharedListeners(t *testing.T) {
	p := newProcTree(t)
	listeners := make([]string, 3)
	for i := range listeners {
		listeners[i] = strings.Replace(procListen, " 41 ", fmt.Sprintf(" %d ", 60+i), 1)
	}
	p.write("net/tcp", procHeader+strings.Join(listeners, ""))
	got := p.poll(new(Poller), func() { p.write("net/tcp", procHeader+listeners[0]+listeners[2]) })
	row := "row 127.0.0.1:8080 0.0.0.0:0 LISTEN"
	want := []string{row, row, row, "127.0.0.1:8080 0.0.0.0:0 LISTEN -> CLOSE inferred true, nobody"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestPollSockets follows UDP and raw sockets without BPF.
func TestPollSockets(t *testing.T) {
	const (
		header  = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
		bound   = "  100: 00000000:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 51 2 0000000000000000 0\n"
		peer    = "  100: 0100007F:1F90 0100007F:0035 01 00000000:00000000 00:00000000 00000000  1000        0 51 2 0000000000000000 0\n"
		another = "  101: 0100007F:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 52 2 0000000000000000 0\n"
		raw     = "    1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 53 2 0000000000000000 0\n"
	)
	tree := newProcTree(t)
	tree.write("net/udp", header+bound)
	tree.write("net/raw", header)
	tree.process(200, 52, "dig")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &script{cancel: cancel, steps: []func(){
		func() { tree.write("net/udp", header+peer+another) },
		func() { tree.write("net/udp", header+another); tree.write("net/raw", header+raw) },
		func() {}, // what two polls do not see is gone
		func() {},
	}}
	p := &Poller{Proc: tree.root, Protocols: UDP | Raw, every: time.Millisecond}
	if err := p.Run(ctx, s); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"row udp 0.0.0.0:8080 0.0.0.0:0 7",
		"udp 127.0.0.1:8080 127.0.0.1:53 connect poll, nobody",
		"udp 127.0.0.1:8081 0.0.0.0:0 bind poll, nobody",
		"raw 0.0.0.0:1 0.0.0.0:0 bind poll, nobody",
		"udp 127.0.0.1:8080 127.0.0.1:53 close poll, nobody",
	}
	if diff := cmp.Diff(want, s.got); diff != "" {
		t.Errorf("(-want +told):\n%s", diff)
	}
	for socket := range p.sockets.All {
		if owner := socket.Owner.Process; socket.Inode == 52 && (owner == nil || owner.Comm != "dig") {
			t.Errorf("the owner of %v is %v", socket.Local, owner)
		}
	}
}
