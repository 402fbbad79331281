package table_test

import (
	"net/netip"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestDirectionOfFirstEvent has a socket leave SYN_RECV that nothing is known of. It
// came in, unless it may have been in SYN_SENT before the tracer: two that connect to
// each other are in SYN_RECV too (RFC 9293, 3.5).
func TestDirectionOfFirstEvent(t *testing.T) {
	for _, c := range []struct {
		initial bool // the initial table is being read
		want    table.Direction
	}{{true, table.DirectionUnknown}, {false, table.Incoming}} {
		merged := table.New(table.Config{CanScan: true}, noProcesses(), func(*table.Change) {})
		merged.BeginScan(1000, true)
		if !c.initial {
			merged.EndScan(2000)
		}
		merged.Apply(&table.Event{
			Kind: table.EventState, Time: 3000, Cookie: 5, Netns: 1, Sock: 0x1000,
			Old: snapshot.SynRecv, New: snapshot.Established,
			Local: netip.MustParseAddrPort("127.0.0.1:1000"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
		})
		for r := range merged.All {
			if r.Direction != c.want {
				t.Errorf("initial %t: direction %d, want %d", c.initial, r.Direction, c.want)
			}
		}
		if merged.Len() != 1 {
			t.Errorf("%d rows", merged.Len())
		}
	}
}
