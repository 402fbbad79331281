package table_test

import (
	"net/netip"
	"testing"

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
