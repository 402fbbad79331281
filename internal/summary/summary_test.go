package summary

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

func parse(t interface{ Fatal(...any) }, o Options) *Spec {
	spec, err := Parse(&o)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		list, sort string
		in         field.Where
		counts     Counts
		columns    string // names in records
		err        string
	}{
		{list: "", in: field.View, counts: Rows, columns: "count state"},
		{list: "", in: field.Stream, counts: Transitions, columns: "count state"},
		{list: "program,pid", in: field.View, counts: Rows, columns: "count program pid"},
		{list: "remote_addr", in: field.Stream, counts: Connections, columns: "opened ended failed open remote_addr"},
		{list: "outcome", in: field.Stream, counts: Ends, columns: "count outcome"},
		{list: "dst/24,count,p50(latency),p99.9(latency)", in: field.Stream, counts: Connections, columns: "count latency_p50_ns latency_p99_9_ns remote_addr"},
		{list: "dst,sum(bytes),avg(retrans),max(rtt)", in: field.Stream, counts: Ends, columns: "bytes_sum retrans_avg_milli rtt_max_ns remote_addr"},
		{list: "program,open,sum(sent)", in: field.Stream, counts: Connections, columns: "open bytes_sent_sum program"},
		{list: "old_state,new_state", in: field.Stream, counts: Transitions, columns: "count old_state state"},
		{list: "count", in: field.View, counts: Rows, columns: "count"},
		{list: "state", sort: "-count", in: field.View, counts: Rows, columns: "count state"},
		{list: "dst", sort: "remote_addr", in: field.View, counts: Rows, columns: "count remote_addr"},

		{list: "change,transport", in: field.Stream | field.Others, counts: Transitions, columns: "count change transport"},
		{list: "reason", in: field.Stream | field.Others, counts: Ends, columns: "count reason"},
		{list: "path", in: field.Stream | field.Others | field.Conns, counts: Connections, columns: "opened ended failed open path"},

		{list: "change", in: field.Stream, err: "option '--summary': 'change' is known of UDP, raw and Unix sockets: add -u, -w or -x"},
		{list: "outcome", in: field.Stream | field.Others, err: "option '--summary': 'outcome' is known of TCP connections: add -t"},
		{list: "outcome,reason", in: field.Stream | field.Others | field.Conns, err: "option '--summary': outcome is of connections, reason of other sockets: take one of both"},
		{list: "sum(peer_pid)", in: field.Stream | field.Others, err: "option '--summary': 'sum(peer_pid)': peer_pid is not an amount"},
		{list: "stat", in: field.View, err: "option '--summary': no field or measure 'stat', near: state"},
		{list: "cuont", in: field.View, err: "option '--summary': no field or measure 'cuont', near: count"},
		{list: "state,", in: field.View, err: "option '--summary': a name is missing"},
		{list: "outcome", in: field.View, err: "option '--summary': 'outcome' is known in the stream alone: add -c"},
		{list: "autobound", in: field.Stream, err: "option '--summary': 'autobound' is known in the views alone: leave out -c"},
		{list: "state,state", in: field.View, err: "option '--summary': 'state' stands twice"},
		{list: "dst,remote_addr/8", in: field.View, err: "option '--summary': 'remote_addr' stands twice"},
		{list: "sum(sent),sum(bytes_sent)", in: field.Stream, err: "option '--summary': 'sum(bytes_sent)' stands twice"},
		{list: "dport/8", in: field.View, err: "option '--summary': 'dport/8': only addresses fold to networks, of 0 to 128 bits, as remote_addr/24"},
		{list: "dst/129", in: field.View, err: "option '--summary': 'dst/129': only addresses fold to networks, of 0 to 128 bits, as remote_addr/24"},
		{list: "p0(latency)", in: field.Stream, err: "option '--summary': 'p0(latency)': a percentile is above p0 and up to p100, as p99 or p99.9"},
		{list: "p1e1(latency)", in: field.Stream, err: "option '--summary': 'p1e1(latency)': a percentile is above p0 and up to p100, as p99 or p99.9"},
		{list: "mean(latency)", in: field.Stream, err: "option '--summary': 'mean(latency)': measures are count, sum(F), avg(F), min(F), max(F), p50(F) and the like"},
		{list: "sum(comm)", in: field.Stream, err: "option '--summary': 'sum(comm)': comm is not an amount"},
		{list: "sum(pid)", in: field.Stream, err: "option '--summary': 'sum(pid)': pid is not an amount"},
		{list: "opened", in: field.View, err: "option '--summary': opened, ended, failed and open are of connections, whose keys are known while they are open"},
		{list: "outcome,open", in: field.Stream, err: "option '--summary': opened, ended, failed and open are of connections, whose keys are known while they are open"},
		{list: "state,outcome", in: field.Stream, err: "option '--summary': with a state transitions are counted, and what is known at the end of a connection is not known then: leave out one of both"},
		{list: "state", sort: "dst", in: field.View, err: "option '--sort': 'dst' is not in the summary, which has count, state"},
	} {
		spec, err := Parse(&Options{List: tt.list, Sort: tt.sort, In: tt.in})
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != tt.err {
			t.Errorf("%q: error %q, want %q", tt.list, text, tt.err)
		}
		if err != nil {
			continue
		}
		var names []string
		for _, c := range spec.columns() {
			names = append(names, c.Name)
		}
		if got := strings.Join(names, " "); got != tt.columns || spec.Counts() != tt.counts {
			t.Errorf("%q: columns %s, want %s; counts %d, want %d", tt.list, got, tt.columns, spec.Counts(), tt.counts)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"state", "p99.9(latency),dst/24", "sum(", ")", "p(", "count,count", "/", "dst/-1", "p1e308(bytes)", "\xff"} {
		f.Add(seed, "-count", true)
	}
	f.Fuzz(func(t *testing.T, list, sort string, stream bool) {
		in := field.View
		if stream {
			in = field.Stream
		}
		spec, err := Parse(&Options{List: list, Sort: sort, In: in})
		if (spec == nil) == (err == nil) {
			t.Fatalf("%v, %v", spec, err)
		}
		if err == nil {
			s := New(spec, nil, nil)
			row := snapshot.Socket{}
			var subject field.Subject
			subject.SetSocket(&row)
			s.AddRow(&subject)
			if table := s.Table(time.Time{}, 0); table.Total.Count != 1 {
				t.Errorf("total %+v", table.Total)
			}
		}
	})
}

// rows draws rows of a view of few different values.
func rows() *rapid.Generator[[]snapshot.Socket] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) snapshot.Socket {
		addr := rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "10.0.1.1", "::ffff:10.0.0.1", "2001:db8::1", "fe80::1%eth0"}).Draw(t, "remote")
		return snapshot.Socket{Head: snapshot.Head{
			Remote: netip.AddrPortFrom(netip.MustParseAddr(addr), rapid.Uint16Range(0, 3).Draw(t, "port")),
			Local:  netip.MustParseAddrPort("10.0.0.9:80"),
			State:  snapshot.State(rapid.IntRange(1, 4).Draw(t, "state")),
			UID:    rapid.Uint32Range(0, 2).Draw(t, "uid"), Inode: rapid.Uint64Range(0, 1).Draw(t, "inode"),
			RecvQ: rapid.Uint64Range(0, 100000).Draw(t, "recv_q"),
		}}
	}), 0, 200)
}

// TestRowsAgainstCounting compares summaries of random rows with counting them one by
// one: each row is in one group, the values are those of its rows, and what is shown and
// the rest are the total.
func TestRowsAgainstCounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rows().Draw(t, "rows")
		opts := Options{
			List: "state,dst/24,uid,count,sum(recv_q),avg(recv_q),min(recv_q),max(recv_q),p50(recv_q),p99(recv_q)",
			Sort: rapid.SampledFrom([]string{"", "count", "-sum(recv_q)", "dst/24", "-uid", "p50(recv_q)"}).Draw(t, "sort"),
			Top:  rapid.IntRange(0, 5).Draw(t, "top"), Groups: rapid.IntRange(1, 20).Draw(t, "groups"), In: field.View,
		}
		s := New(parse(t, opts), nil, nil)
		want := make(map[string][]uint64) // the queues of each group
		var order []string
		over := 0
		for i := range list {
			var subject field.Subject
			subject.SetSocket(&list[i])
			s.AddRow(&subject)
			name := naiveName(&list[i])
			if want[name] == nil && len(want) == opts.Groups {
				over++
				name = "rest"
			}
			want[name] = append(want[name], list[i].RecvQ)
			if name != "rest" && !slices.Contains(order, name) {
				order = append(order, name)
			}
			if name == "rest" && len(want) > opts.Groups {
				opts.Groups = len(want) // the rest is no group
			}
		}
		got := s.Table(time.Time{}, 0)
		checkTable(t, &got, want, len(list))
		if got.Over != uint64(over) || got.Cut+len(got.Rows) != len(order) {
			t.Errorf("%d over, %d cut, %d shown; want %d over of %d groups", got.Over, got.Cut, len(got.Rows), over, len(order))
		}
		if opts.Top > 0 && len(got.Rows) > opts.Top {
			t.Errorf("%d rows shown, want at most %d", len(got.Rows), opts.Top)
		}
		checkSorted(t, &got, opts.Sort)
	})
}

// naiveName is the group of a row, in the words of the table.
func naiveName(s *snapshot.Socket) string {
	a := s.Remote.Addr().Unmap().WithZone("")
	p := netip.PrefixFrom(a, 24).Masked()
	uid := "-"
	if s.UID != 0 || s.Inode != 0 {
		uid = fmt.Sprint(s.UID)
	}
	return fmt.Sprintf("%v %v %v", s.State, p, uid)
}

func checkTable(t *rapid.T, got *output.Summary, want map[string][]uint64, n int) {
	sum := uint64(0)
	for i := range got.Rows {
		row := &got.Rows[i]
		sum += row.Count
		cells := row.Cells
		uid := "-"
		if cells[9].Known {
			uid = fmt.Sprint(cells[9].Number)
		}
		name := fmt.Sprintf("%v %v %v", snapshot.State(cells[7].Number), cells[8].Text, uid)
		values := want[name]
		slices.Sort(values)
		total := uint64(0)
		for _, v := range values {
			total += v
		}
		if len(values) == 0 || int(row.Count) != len(values) || cells[0].Number != row.Count || cells[1].Number != total ||
			cells[3].Number != values[0] || cells[4].Number != values[len(values)-1] ||
			math.Abs(cells[2].Mean-float64(total)/float64(len(values))) > 1e-6 {
			t.Errorf("%s: %+v of %v", name, cells, values)
			continue
		}
		near(t, cells[5].Number, values, 50)
		near(t, cells[6].Number, values, 99)
	}
	if got.Total.Count != uint64(n) || sum+got.Rest.Count != uint64(n) {
		t.Errorf("%d shown, %d in the rest, %d in the total, of %d", sum, got.Rest.Count, got.Total.Count, n)
	}
}

// near checks a percentile against sorted values: within 1 % of the one of its rank.
func near(t interface{ Errorf(string, ...any) }, got uint64, sorted []uint64, percent float64) {
	rank := min(max(int(percent/100*float64(len(sorted))+0.5), 1), len(sorted))
	want := sorted[rank-1]
	if math.Abs(float64(got)-float64(want)) > 0.01*float64(want) {
		t.Errorf("p%v is %d, want %d (of %d values)", percent, got, want, len(sorted))
	}
}

func checkSorted(t *rapid.T, got *output.Summary, sort string) {
	column, falling := 0, true
	switch sort {
	case "count":
		falling = false
	case "-sum(recv_q)":
		column = 1
	case "p50(recv_q)":
		column, falling = 5, false
	case "dst/24", "-uid":
		return // by keys: see TestOrder
	}
	for i := 1; i < len(got.Rows); i++ {
		a, b := got.Rows[i-1].Cells[column].Number, got.Rows[i].Cells[column].Number
		if falling && a < b || !falling && a > b {
			t.Errorf("row %d: %d before %d by %q", i, a, b, sort)
		}
	}
}

// TestOrder checks the order of groups that are equal otherwise.
func TestOrder(t *testing.T) {
	for sort, want := range map[string]string{
		"":             "10.0.0.1 10.0.0.2 2001:db8::1 -",
		"-remote_addr": "- 2001:db8::1 10.0.0.2 10.0.0.1",
		"dst":          "10.0.0.1 10.0.0.2 2001:db8::1 -",
		"count":        "10.0.0.2 2001:db8::1 - 10.0.0.1",
	} {
		s := New(parse(t, Options{List: "dst", Sort: sort, In: field.View}), nil, nil)
		for _, addr := range []string{"2001:db8::1", "10.0.0.1", "", "10.0.0.2", "::ffff:10.0.0.1"} {
			row := snapshot.Socket{}
			if addr != "" {
				row.Remote = netip.AddrPortFrom(netip.MustParseAddr(addr), 1)
			}
			var subject field.Subject
			subject.SetSocket(&row)
			s.AddRow(&subject)
		}
		var got []string
		table := s.Table(time.Time{}, 0)
		for _, row := range table.Rows {
			text := "-"
			if row.Cells[1].Known {
				text = row.Cells[1].Text
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("by %q: %v, want %s", sort, got, want)
		}
	}
}

// TestPercentiles checks percentiles of many values of any size, and that merged
// sketches know as much as one of all values.
func TestPercentiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Map(rapid.Uint64(), func(v uint64) uint64 { return v >> (v % 64) })
		lists := rapid.SliceOfN(rapid.SliceOfN(value, 0, 300), 1, 4).Draw(t, "values")
		whole, merged := amount{sketched: true}, amount{sketched: true}
		var all []uint64
		for _, list := range lists {
			part := amount{sketched: true}
			for _, v := range list {
				v = min(v, math.MaxInt64)
				part.add(v)
				whole.add(v)
				all = append(all, v)
			}
			merged.merge(&part)
		}
		if len(all) == 0 {
			return
		}
		slices.Sort(all)
		for _, q := range []float64{0.1, 1, 25, 50, 90, 99, 99.9, 100} {
			near(t, whole.quantile(q), all, q)
			if merged.quantile(q) != whole.quantile(q) {
				t.Errorf("p%v is %d merged, %d of all", q, merged.quantile(q), whole.quantile(q))
			}
		}
		if merged.n != whole.n || merged.sum != whole.sum || merged.least != whole.least || merged.most != whole.most {
			t.Errorf("merged %+v, whole %+v", merged, whole)
		}
	})
}

// TestConnections follows random lives of connections: what is open is what began and
// did not end, group by group, and over any windows all ends are told once.
func TestConnections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.IntRange(1, 4).Draw(t, "groups")
		s := New(parse(t, Options{List: "program,count,opened,ended,failed,open", In: field.Stream, Groups: groups}), nil, nil)
		programs := []*snapshot.Process{nil, {PID: 1, Comm: "a"}, {PID: 2, Comm: "b"}, {PID: 3, Comm: "c"}}
		var live []*table.Conn
		id, opened, ended, failed := uint64(0), uint64(0), uint64(0), uint64(0)
		sum := [3]uint64{}
		window := func() {
			table := s.Table(time.Unix(1, 0), time.Second)
			open := uint64(0)
			for _, row := range append(table.Rows, table.Rest) {
				open += row.Cells[4].Number
			}
			if groups == len(programs) { // each has its place
				checkOpen(t, table.Rows, live)
			}
			if open != uint64(len(live)) || table.Total.Cells[4].Number != open {
				t.Errorf("%d open, total %d, want %d", open, table.Total.Cells[4].Number, len(live))
			}
			for i := range sum {
				sum[i] += table.Total.Cells[1+i].Number
			}
			s.Next()
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				id++
				opened++
				c := &table.Conn{ID: id, StartKnown: true, Head: snapshot.Head{State: snapshot.SynSent}}
				c.Owner.Process = rapid.SampledFrom(programs).Draw(t, "program")
				live = append(live, c)
				s.AddChange(&table.Change{Conn: c, Old: snapshot.Close, New: snapshot.SynSent})
			case 2:
				if len(live) > 0 {
					c := rapid.SampledFrom(live).Draw(t, "changed")
					c.Owner.Process = rapid.SampledFrom(programs).Draw(t, "new program")
					s.AddChange(&table.Change{Kind: table.ChangeOwner, Conn: c})
				}
			case 3:
				if len(live) > 0 {
					i := rapid.IntRange(0, len(live)-1).Draw(t, "ended")
					c := live[i]
					live = slices.Delete(live, i, i+1)
					outcome := rapid.SampledFrom([]table.Outcome{table.Finished, table.Refused}).Draw(t, "outcome")
					ended++
					if outcome == table.Refused {
						failed++
					}
					c.State = snapshot.Close
					s.AddChange(&table.Change{Conn: c, Old: snapshot.SynSent, New: snapshot.Close})
					s.AddChange(&table.Change{Kind: table.ChangeClose, Conn: c, Close: &table.Closed{Outcome: outcome}})
				}
			case 4:
				window()
			}
		}
		window()
		if want := [3]uint64{opened, ended, failed}; sum != want {
			t.Errorf("windows sum up to %v, want %v", sum, want)
		}
	})
}

// checkOpen checks that the connections that are open count where their owners of now
// are.
func checkOpen(t *rapid.T, rows []output.SummaryRow, live []*table.Conn) {
	want, got := make(map[string]uint64), make(map[string]uint64)
	for _, c := range live {
		name := ""
		if p := c.Owner.Process; p != nil {
			name = p.Comm
		}
		want[name]++
	}
	for _, row := range rows {
		if n := row.Cells[4].Number; n > 0 {
			got[row.Cells[5].Text] = n
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("open (-want +got):\n%s", diff)
	}
}

// TestStreamCounts checks what is counted of the changes of a stream.
func TestStreamCounts(t *testing.T) {
	c := &table.Conn{ID: 1, StartKnown: true, Start: 1000, Established: 3000, Head: snapshot.Head{State: snapshot.Established}}
	unrouted := &table.Conn{ID: 2, StartKnown: true, Head: snapshot.Head{State: snapshot.Close}}
	old := &table.Conn{ID: 3, Start: 500, Head: snapshot.Head{State: snapshot.Established}}
	changes := []*table.Change{
		{Conn: c, Old: snapshot.Close, New: snapshot.SynSent},
		{Conn: c, Old: snapshot.SynSent, New: snapshot.Established},
		{Conn: c, Old: snapshot.FinWait2, New: snapshot.TimeWait, Time: 9000},
		{Kind: table.ChangeClose, Conn: c, Time: 9000, Close: &table.Closed{Outcome: table.Finished, HasStats: true, BytesSent: 7}},
		{Conn: c, Old: snapshot.TimeWait, New: snapshot.Close},
		{Kind: table.ChangeClose, Conn: unrouted, Close: &table.Closed{Outcome: table.Unreachable}},
		{Kind: table.ChangeClose, Conn: old, Time: 9000, Close: &table.Closed{Outcome: table.Finished}},
	}
	for _, tt := range []struct {
		list string
		want []string // cells of the rows
	}{
		{"state", []string{"1 2", "1 1", "1 6", "1 7"}},
		{"old_state,state", []string{"1 2 1", "1 6 7", "1 5 6", "1 7 2"}},
		{"outcome", []string{"2 closed", "1 unreachable"}},
		{"count,opened,ended,failed,open", []string{"3 2 3 1 1"}},
		{"outcome,sum(sent),max(latency),min(duration)", []string{"7 2000 8000 closed", "0 - 0 unreachable"}},
	} {
		spec := parse(t, Options{List: tt.list, In: field.Stream})
		s := New(spec, nil, nil)
		s.AddConn(old)
		s.AddConn(&table.Conn{ID: 4, Head: snapshot.Head{State: snapshot.Established}})
		s.AddConn(&table.Conn{ID: 5, Head: snapshot.Head{State: snapshot.Listen}})
		for _, ch := range changes {
			s.AddChange(ch)
		}
		table := s.Table(time.Unix(1, 0), time.Second)
		var got []string
		for _, row := range table.Rows {
			var cells []string
			for _, cell := range row.Cells {
				text := "-"
				if cell.Known && cell.Text != "" {
					text = cell.Text
				} else if cell.Known {
					text = fmt.Sprint(cell.Number)
				}
				cells = append(cells, text)
			}
			got = append(got, strings.Join(cells, " "))
		}
		slices.Sort(got)
		slices.Sort(tt.want)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.list, diff)
		}
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	s := New(parse(t, Options{List: "program,dst/24,count,p99(latency),opened", In: field.Stream}), nil, nil)
	c := &table.Conn{ID: 1, StartKnown: true, Start: 1000, Established: 3000, Head: snapshot.Head{
		Remote: netip.MustParseAddrPort("10.0.0.1:1"), Owner: snapshot.Owner{Process: &snapshot.Process{PID: 1, Comm: "curl"}},
	}}
	begin := &table.Change{Conn: c, Old: snapshot.Close, New: snapshot.SynSent}
	end := &table.Change{Kind: table.ChangeClose, Conn: c, Close: &table.Closed{}}
	if n := testing.AllocsPerRun(1000, func() {
		s.AddChange(begin)
		s.AddChange(end)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAddChange(b *testing.B) {
	s := New(parse(b, Options{List: "program,dst/24,count,p99(latency)", In: field.Stream}), nil, nil)
	c := &table.Conn{ID: 1, StartKnown: true, Start: 1000, Established: 3000, Head: snapshot.Head{
		Remote: netip.MustParseAddrPort("10.0.0.1:1"), Owner: snapshot.Owner{Process: &snapshot.Process{PID: 1, Comm: "curl"}},
	}}
	begin := &table.Change{Conn: c, Old: snapshot.Close, New: snapshot.SynSent}
	for b.Loop() {
		s.AddChange(begin)
	}
}
