package table_test

import (
	"net/netip"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestRowKeepsUser has rows of the kernel's table that know no user: a row of a
// socket whose user an event reported keeps it, and one of another socket has none.
func TestRowKeepsUser(t *testing.T) {
	merged := table.New(table.Config{CanScan: true}, noProcesses(), func(*table.Change) {})
	e := table.Event{
		Kind: table.EventState, Time: 1000, Cookie: 5, Netns: 1, Sock: 0x1000, UID: 1000, HasUID: true,
		Old: snapshot.Established, New: snapshot.FinWait1,
		Local: netip.MustParseAddrPort("127.0.0.1:1000"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
	}
	merged.Apply(&e)
	row := table.Event{
		Kind: table.EventRow, Mini: true, Cookie: 5, Netns: 1,
		New: snapshot.FinWait2, Local: e.Local, Remote: e.Remote,
	}
	stranger := row
	stranger.Cookie, stranger.Local = 6, netip.MustParseAddrPort("127.0.0.1:1001")
	for at := uint64(10e6); at <= 20e6; at += 10e6 {
		merged.BeginScan(at, false)
		rows := []table.Event{row, stranger}
		for i := range rows {
			rows[i].After, rows[i].Time = at, at+1000
			merged.Apply(&rows[i])
		}
		for _, q := range merged.Doubts() {
			found := rows[0]
			if q.Cookie == stranger.Cookie {
				found = rows[1]
			}
			merged.Answer(q, table.Answer{Known: true, Row: &found, After: at, Time: at + 1000})
		}
		if _, again := merged.EndScan(at + 2000); again {
			t.Error("something was left in doubt")
		}
		row.New = snapshot.TimeWait
	}
	found := 0
	for c := range merged.All {
		found++
		if c.Local == e.Local && (!c.HasUID || c.UID != 1000) || c.Local == stranger.Local && c.HasUID {
			t.Errorf("%v has user %d (known: %t)", c.Local, c.UID, c.HasUID)
		}
	}
	if found != 2 {
		t.Errorf("%d rows", found)
	}
}

// TestProcRowKeepsUser is the same with rows of /proc and no events.
func TestProcRowKeepsUser(t *testing.T) {
	merged := table.New(table.Config{ScansOnly: true}, noProcesses(), func(*table.Change) {})
	e := table.Event{
		Kind: table.EventRow, Time: 1000, New: snapshot.Established, UID: 1000, HasUID: true, Inode: 42,
		Local: netip.MustParseAddrPort("127.0.0.1:1000"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
	}
	for _, state := range []snapshot.State{snapshot.Established, snapshot.FinWait2, snapshot.TimeWait} {
		e.New, e.Time = state, e.Time+1000
		merged.BeginScan(e.Time, state == snapshot.Established)
		merged.Apply(&e)
		merged.EndScan(e.Time)
		e.UID, e.HasUID, e.Inode = 0, false, 0
	}
	for c := range merged.All {
		if !c.HasUID || c.UID != 1000 || c.State != snapshot.TimeWait {
			t.Errorf("%v has user %d (known: %t)", c.State, c.UID, c.HasUID)
		}
	}
}
