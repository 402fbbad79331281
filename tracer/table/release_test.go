package table_test

import (
	"net/netip"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestReleased closes a socket by a call that makes a transition, whose record says that
// the socket was released, and one after shutdown(), of which there is a record of its own.
func TestReleased(t *testing.T) {
	var merged *table.Table
	var told []uint64 // inodes, as they were told with each transition
	merged = table.New(table.Config{CanScan: true}, noProcesses(), func(c *table.Change) { told = append(told, c.Conn.Inode) })
	for _, c := range []struct {
		name    string
		byClose bool
		want    uint64 // with FIN_WAIT1
	}{{"close", true, 0}, {"shutdown", false, 99}} {
		t.Run(c.name, func(t *testing.T) {
			told = nil
			e := table.Event{
				Kind: table.EventState, Time: 1000, Cookie: 5 + c.want, Netns: 1, Sock: 0x1000 + c.want, Task: 7, Inode: 99,
				Old: snapshot.Close, New: snapshot.SynSent,
				Local: netip.MustParseAddrPort("127.0.0.1:1000"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
			}
			merged.Apply(&e)
			for _, next := range []snapshot.State{snapshot.Established, snapshot.FinWait1} {
				e.Old, e.New, e.Time, e.Inode, e.Task = e.New, next, e.Time+1000, 0, 0
				e.Released = c.byClose && next == snapshot.FinWait1
				merged.Apply(&e)
			}
			if got := told[len(told)-1]; got != c.want {
				t.Errorf("FIN_WAIT1 is told with inode %d, want %d", got, c.want)
			}
			if !c.byClose {
				merged.Apply(&table.Event{Kind: table.EventRelease, Time: e.Time + 1000, Cookie: e.Cookie, Sock: e.Sock})
			}
			for r := range merged.All {
				if r.Cookie == e.Cookie && r.Inode != 0 {
					t.Errorf("the table has inode %d", r.Inode)
				}
			}
		})
	}
}

// TestReleasedListener closes a listener while rows without cookies are read, one of which
// is older than the close: it must not bring the listener back.
func TestReleasedListener(t *testing.T) {
	var told []snapshot.State
	merged := table.New(table.Config{CanScan: true}, noProcesses(), func(c *table.Change) { told = append(told, c.New) })
	at := netip.MustParseAddrPort("0.0.0.0:80")
	e := table.Event{
		Kind: table.EventState, Time: 1000, Cookie: 5, Netns: 1, Sock: 0x1000, Task: 7, Inode: 99,
		Old: snapshot.Close, New: snapshot.Listen, Local: at, Remote: netip.MustParseAddrPort("0.0.0.0:0"),
	}
	merged.Apply(&e)
	row := table.Event{
		Kind: table.EventRow, New: snapshot.Listen, Netns: 1, Inode: 99, Local: at, Remote: e.Remote, After: 1500, Time: 3000,
	}
	merged.BeginScan(1500, false)
	e.Old, e.New, e.Time, e.Inode, e.Released = snapshot.Listen, snapshot.Close, 2000, 0, true
	merged.Apply(&e)
	merged.Apply(&row)
	merged.EndScan(4000)
	if len(told) != 2 || told[1] != snapshot.Close {
		t.Errorf("told %v, want LISTEN and CLOSE", told)
	}
}
