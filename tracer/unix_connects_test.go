package tracer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestUnixConnects has 10,000 processes connect, in a machine 2,000, each of which ends at once. Both ends of
// each connection must be told, with the process of each as the system calls have it, with
// each other's id, and closed.
func TestUnixConnects(t *testing.T) {
	count := 10000
	if inMachine || testing.Short() { // a process takes 30 ms there
		count = 2000
	}
	netns, dir := testnet.New(t), t.TempDir()
	w := watchSockets(t, Options{NetnsPath: netns, Reconcile: -1, Protocols: Unix})
	server := startLoad(t, load.UnixServer(count, dir), netns)
	clients := startLoad(t, load.UnixClients(count), netns)
	for _, p := range []*load.Process{clients, server} {
		if err := p.Done(); err != nil {
			t.Fatal(err)
		}
	}
	exact := unixWhole(w.tracer.hooks.chosen)
	if exact {
		w.unixRows() // all of the ring is read
	} else {
		time.Sleep(20 * unixPoll)
	}
	connects := &unixConnects{
		told: w.told, server: server.PID(), exact: exact, byPID: make(map[int]*socketTold),
	}
	for _, p := range []*load.Process{clients, server} {
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	w.stop()
	if w.lost > 0 {
		t.Errorf("%d events were lost", w.lost)
	}
	accepted, err := os.ReadFile(filepath.Join(dir, "accepted"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range w.told {
		if pid := ownerPID(k); pid != server.PID() && k.row.Unix.Peer != 0 {
			connects.byPID[pid] = k
		}
	}
	lines, wrong := 0, 0
	for line := range strings.Lines(string(accepted)) {
		lines++
		if err := connects.check(line); err != nil {
			if wrong++; wrong < 10 {
				t.Error(err)
			}
		}
	}
	if lines != count || wrong > 0 {
		t.Errorf("%d connections of %d, %d of them told wrong", lines, count, wrong)
	}
	t.Logf("%d connections, %d sockets told", lines, len(w.told))
}

func startLoad(t *testing.T, role, netns string) *load.Process {
	t.Helper()
	p, err := load.Start(role, netns)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Go(); err != nil {
		t.Fatal(err)
	}
	return p
}

// unixConnects compares what was told of connections with what the server saw of them.
type unixConnects struct {
	told   map[uint64]*socketTold
	server int
	exact  bool                // accept() is told
	byPID  map[int]*socketTold // of the processes that connected
}

// check compares one: the inode that the server accepted, and the process that connected.
func (u *unixConnects) check(line string) error {
	var inode uint64
	var pid int
	if _, err := fmt.Sscan(line, &inode, &pid); err != nil {
		return err
	}
	client := u.byPID[pid]
	if client == nil {
		return fmt.Errorf("the socket of process %d was not told", pid)
	}
	made := u.told[client.row.Unix.Peer]
	if made == nil {
		return fmt.Errorf("process %d has the peer %x, which was not told", pid, client.row.Unix.Peer)
	}
	switch {
	case ownerPID(made) != u.server && (u.exact || ownerPID(made) != 0): // whose the listener is, open files show
		return fmt.Errorf("process %d has a peer of %d, not of %d", pid, ownerPID(made), u.server)
	case made.row.Unix.PeerPID != uint32(pid) || client.row.Unix.PeerPID != uint32(u.server):
		return fmt.Errorf("process %d has a peer of %d, which has one of %d", pid, client.row.Unix.PeerPID, made.row.Unix.PeerPID)
	case made.row.Unix.Peer != client.row.ID:
		return fmt.Errorf("process %d is not the peer of its peer", pid)
	case !made.closed() || !client.closed():
		return fmt.Errorf("process %d: %v, its peer %v", pid, client.kinds, made.kinds)
	case !u.exact:
		return nil
	case made.row.Inode != inode || made.row.Unix.PeerInode != client.row.Inode,
		client.row.Unix.PeerInode != inode && client.row.Unix.PeerInode != 0: // 0: it ended before accept()
		return fmt.Errorf("process %d is connected to inode %d and %d, want %d; that to %d", pid, client.row.Unix.PeerInode, made.row.Inode, inode, made.row.Unix.PeerInode)
	case !slices.Contains(made.kinds, table.SocketAccept):
		return fmt.Errorf("process %d has a peer that was not accepted: %v", pid, made.kinds)
	}
	return nil
}

func (k *socketTold) closed() bool {
	return len(k.kinds) > 0 && slices.Index(k.kinds, table.SocketClose) == len(k.kinds)-1
}

func ownerPID(k *socketTold) int {
	if k.row.Owner.Process == nil || k.row.Owner.Source == snapshot.OwnerUnknown {
		return 0
	}
	return k.row.Owner.Process.PID
}
