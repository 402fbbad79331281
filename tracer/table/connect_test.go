package table_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestConnectTwice has the first transition of a connect reported without a port and again
// with it: it is told once, with the port.
func TestConnectTwice(t *testing.T) {
	var told []netip.AddrPort
	merged := table.New(table.Config{CanScan: true, ReportsPort: true}, noProcesses(), func(c *table.Change) {
		told = append(told, c.Conn.Local)
	})
	e := table.Event{
		Kind: table.EventState, Time: 1000, Cookie: 5, Netns: 1, Sock: 0x1000, Task: 7, Inode: 99,
		Old: snapshot.Close, New: snapshot.SynSent,
		Local: netip.MustParseAddrPort("127.0.0.1:0"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
	}
	merged.Apply(&e)
	e.Time, e.Local = 2000, netip.MustParseAddrPort("127.0.0.1:1000")
	merged.Apply(&e)
	merged.Settle(10e9)
	if len(told) != 1 || told[0] != e.Local {
		t.Errorf("told %v, want one with %v", told, e.Local)
	}
}

// TestConnectUnsent has a connect fail before its first transition was sent: the call made
// both, so both are told, with its process.
func TestConnectUnsent(t *testing.T) {
	var told []string
	procs := table.NewProcesses(8, func(*snapshot.Process, uint64) {}, func(uint32) {})
	merged := table.New(table.Config{CanScan: true, ReportsPort: true, LateConnects: true}, procs, func(c *table.Change) {
		name := ""
		if c.Kind != table.ChangeState {
			return
		}
		if p := c.Conn.Owner.Process; p != nil {
			name = p.Comm
		}
		told = append(told, fmt.Sprint(c.Old, ">", c.Conn.State, " ", name, " ", c.Conn.StartKnown))
	})
	merged.Apply(&table.Event{Kind: table.EventProcess, Time: 500, Task: 7, Exec: true, Process: &snapshot.Process{PID: 7, Comm: "curl"}})
	merged.Apply(&table.Event{
		Kind: table.EventState, Time: 1000, Cookie: 5, Netns: 1, Sock: 0x1000, Task: 7, Inode: 99,
		Old: snapshot.SynSent, New: snapshot.Close, HasStats: true, SocketState: 1,
		Local: netip.MustParseAddrPort("127.0.0.1:0"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
	})
	merged.Settle(10e9)
	want := []string{"CLOSE>SYN_SENT curl true", "SYN_SENT>CLOSE curl true"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +told):\n%s", diff)
	}
}
