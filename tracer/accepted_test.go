package tracer

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestAcceptedIdle has a connection be accepted that nothing happens to, where no hook tells who
// accepts. The open files show whose it is, and its inode: no socket has to be read for that.
func TestAcceptedIdle(t *testing.T) {
	set := hookSets[1]
	skipSet(t, set.kinds)
	netns := testnet.New(t)
	w := startWatch(t, Options{NetnsPath: netns, Hooks: set.kinds, Reconcile: -1})
	if w.tracer.hooks.chosen[Acceptor] != "" || w.tracer.hooks.chosen[Files] == "" {
		t.Fatalf("accept is told by %q, and files by %q", w.tracer.hooks.chosen[Acceptor], w.tracer.hooks.chosen[Files])
	}
	w.table()
	var accepted unix.Stat_t
	if err := unix.Fstat(live(t, netns).sockets[2], &accepted); err != nil {
		t.Fatal(err)
	}
	var got table.Conn
	var last scanKind
	for end := time.Now().Add(time.Minute); got.Inode == 0 && time.Now().Before(end); time.Sleep(pollInterval) {
		w.read(func(tb *table.Table) {
			for c := range tb.All {
				if c.Direction == table.Incoming && c.Owner.Source == snapshot.OwnerFiles {
					got = *c
				}
			}
			last = w.tracer.scan.kind
		})
	}
	w.stop()
	if p := got.Owner.Process; p == nil || p.PID != os.Getpid() || got.Inode != accepted.Ino {
		t.Errorf("owner %+v, inode %d; want process %d, inode %d", got.Owner, got.Inode, os.Getpid(), accepted.Ino)
	}
	if last != scanOwners {
		t.Errorf("a scan of kind %d was made", last)
	}
}
