package output

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

func newColumnText(out *bytes.Buffer, style StreamStyle, names []string) *ColumnText {
	return NewColumnText(out, style, names, fixedClock(1_000_000_000, testNow), time.UTC)
}

// closes are a connection with all that is known of one, and one with nothing.
func closes() []*table.Change {
	c := streamConn()
	c.Established = 1_000_250_000
	refused := &table.Conn{Head: snapshot.Head{Local: c.Local, Remote: c.Remote, State: snapshot.Close}, ID: 7, Start: 1_000_000_000}
	return []*table.Change{
		{Kind: table.ChangeClose, Time: 1_034_400_000, Conn: c, Close: &table.Closed{
			Outcome: table.Finished, HasStats: true, BytesSent: 457, BytesReceived: 18_700, Retrans: 2, RTT: 312, MinRTT: 100,
		}},
		{Kind: table.ChangeClose, Time: 1_034_400_000, Conn: refused, Close: &table.Closed{Outcome: table.HandshakeDropped}},
	}
}

// Closes alone are a line each, and on a narrow terminal two.
func TestColumnTextOfCloses(t *testing.T) {
	for _, tt := range []struct {
		style StreamStyle
		want  string
	}{
		{StreamStyle{}, `# 2026-11-24 (UTC, +00:00)
TIME            PROTO LOCAL ADDRESS          FOREIGN ADDRESS        OUTCOME           CONNECT  LIFE     SENT     RECEIVED RETR RTT      PID/PROGRAM
12:04:05.157856 tcp   10.0.0.5:51464         10.9.4.1:443           closed            0.250 ms 34.4 ms  457 B    18.7 KB  2    0.312 ms 2033/curl
12:04:05.157856 tcp   10.0.0.5:51464         10.9.4.1:443           handshake dropped -        >34.4 ms -        -        -    -        -
`},
		{StreamStyle{Width: 80, Color: true, Cmdline: true}, `# 2026-11-24 (UTC, +00:00)
TIME         LOCAL ADDRESS         FOREIGN ADDRESS       OUTCOME
  CONNECT  LIFE     SENT     RECEIVED RETR RTT      PID/PROGRAM      COMMAND
12:04:05.157 10.0.0.5:51464        10.9.4.1:443          closed
  0.250ms  34.4ms   457B     18.7KB   2    0.312ms  2033/curl        curl -s htt
12:04:05.157 10.0.0.5:51464        10.9.4.1:443          ` + "\x1b[1;31mhandshake dropped\x1b[m" + `
  -        >34.4ms  -        -        -    -        -                -
`},
	} {
		var out bytes.Buffer
		w := newColumnText(&out, tt.style, CloseColumns(&tt.style))
		w.Header(testNow)
		for _, c := range closes() {
			w.Change(c)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.style, diff)
		}
	}
}

// A transition and the close that follows it are one line; another connection's close
// is a line of its own, as is one that comes after a flush.
func TestColumnTextJoinsTransitionAndClose(t *testing.T) {
	var out bytes.Buffer
	w := newColumnText(&out, StreamStyle{}, []string{"conn_id", "transition", "old_state", "outcome"})
	end := closes()
	last := &table.Change{Time: end[0].Time, Conn: end[0].Conn, Old: snapshot.FinWait2, New: snapshot.TimeWait}
	w.Change(last)
	w.Change(end[0])
	w.Change(last)
	w.Change(end[1])
	w.Change(last)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	w.Change(end[0])
	w.Change(&table.Change{Kind: table.ChangeOwner, Time: end[0].Time, Conn: end[0].Conn})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	const want = `# 2026-11-24 (UTC, +00:00)
12:04:05.157856 0000000000000001 FIN_WAIT2 -> TIME_WAIT    FIN_WAIT2   closed
12:04:05.157856 0000000000000001 FIN_WAIT2 -> TIME_WAIT    FIN_WAIT2   -
12:04:05.157856 0000000000000007 CLOSE                     -           handshake dropped
12:04:05.157856 0000000000000001 FIN_WAIT2 -> TIME_WAIT    FIN_WAIT2   -
12:04:05.157856 0000000000000001 ESTABLISHED               -           closed
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Every column is a field of the records, or a group of such, and is documented.
func TestColumnsAreFields(t *testing.T) {
	fields := RecordFields(ChangeRecords, SocketChangeRecords)
	page, err := os.ReadFile("../docs/select.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range ColumnNames() {
		if !bytes.Contains(page, []byte("`"+name+"`")) {
			t.Errorf("docs/select.md does not have %q", name)
		}
		if !slices.Contains(fields, name) && FieldGroup(name) == nil {
			t.Errorf("%q is no field of a record", name)
		}
		if n := len(slices.DeleteFunc(ColumnNames(), func(other string) bool { return other != name })); n != 1 {
			t.Errorf("%q stands %d times", name, n)
		}
	}
}

// Whatever the values, the columns and the width, a change is as many rows as the
// titles are, none has what a terminal obeys, and with IPv4 addresses and numbers none
// is wider than the terminal.
func TestColumnTextRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.SampledFrom(ColumnNames()), rapid.ID[string]).Draw(t, "columns")
		var out bytes.Buffer
		w := newColumnText(&out, StreamStyle{Width: rapid.IntRange(0, 200).Draw(t, "width")}, names)
		w.titles()
		rows := bytes.Count(w.rows.buf, []byte("\n"))
		w.clock.show(testNow.UnixNano())
		list := rapid.SliceOfN(changes(), 1, 3).Draw(t, "changes")
		for _, c := range list {
			before := bytes.Count(w.rows.buf, []byte("\n"))
			w.clock.second, w.clock.shown = testNow.Unix(), date{}
			w.Change(c)
			w.finish()
			got := bytes.Count(w.rows.buf, []byte("\n")) - before
			if c.Kind == table.ChangeOwner {
				rows = 0
			}
			if got != rows && got != rows+1 { // perhaps with a date
				t.Errorf("%d rows, want %d: %q", got, rows, w.rows.buf)
			}
			if c.Kind == table.ChangeOwner {
				return
			}
		}
		if i := bytes.IndexFunc(w.rows.buf, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }); i >= 0 {
			t.Errorf("a control byte at %d: %q", i, w.rows.buf)
		}
	})
}

func TestColumnTextFits(t *testing.T) {
	for width := 80; width <= 200; width++ {
		var out bytes.Buffer
		style := StreamStyle{Width: width, Cmdline: true}
		w := newColumnText(&out, style, CloseColumns(&style))
		w.Header(testNow)
		list := closes()
		list[0].Conn.Owner.Process = &snapshot.Process{PID: 4194304, Cmdline: strings.Repeat("long", 100)}
		for _, c := range list {
			w.Change(c)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := len(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d cells of %d: %s", n, width, line)
			}
		}
	}
}

// The header comes again when columns move, and only then.
func TestColumnTextResize(t *testing.T) {
	var out bytes.Buffer
	style := StreamStyle{Width: 80}
	w := newColumnText(&out, style, CloseColumns(&style))
	w.Header(testNow)
	for _, width := range []int{80, 81, 149, 80} {
		w.Resize(width)
	}
	w.Note("note")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "OUTCOME"); n != 3 || !strings.HasSuffix(out.String(), "note\n") {
		t.Errorf("%d headers:\n%s", n, out.String())
	}
}

func TestColumnTextAllocatesNothing(t *testing.T) {
	w := NewColumnText(io.Discard, StreamStyle{Width: 80, Color: true}, ColumnNames(), fixedClock(1_000_000_000, testNow), time.UTC)
	list := closes()
	last := &table.Change{Time: list[0].Time, Conn: list[0].Conn, Old: snapshot.FinWait2, New: snapshot.TimeWait}
	if n := testing.AllocsPerRun(100, func() {
		w.Change(last)
		w.Change(list[0])
		w.Change(list[1])
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each line", n)
	}
}

func BenchmarkColumnText(b *testing.B) {
	style := StreamStyle{}
	for _, names := range [][]string{CloseColumns(&style), ColumnNames()} {
		b.Run(fmt.Sprint(len(names)), func(b *testing.B) {
			w := NewColumnText(io.Discard, style, names, fixedClock(1_000_000_000, testNow), time.UTC)
			c := closes()[0]
			for b.Loop() {
				w.Change(c)
				if w.Buffered() > bufferSize {
					if err := w.Flush(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
