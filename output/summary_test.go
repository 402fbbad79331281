package output

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
)

// sumOf is a table with a column of each kind.
func sumOf() *Summary {
	known := func(n uint64) SummaryCell { return SummaryCell{Known: true, Number: n} }
	text := func(s string) SummaryCell { return SummaryCell{Known: true, Text: s} }
	none := SummaryCell{}
	return &Summary{
		Start: testNow, Window: 10 * time.Second,
		Columns: []SummaryColumn{
			{Name: "count", Title: "COUNT", Measure: true},
			{Name: "bytes_sum", Title: "SUM(BYTES)", Measure: true, Kind: SummarySize},
			{Name: "latency_p99_ns", Title: "P99(LATENCY)", Measure: true, Kind: SummaryDuration},
			{Name: "retrans_avg_milli", Title: "AVG(RETRANS)", Measure: true, Kind: SummaryMean},
			{Name: "program", Title: "PROGRAM", Kind: SummaryString},
			{Name: "state", Title: "STATE", Kind: SummaryState},
			{Name: "errno", Title: "ERRNO", Kind: SummaryErrno},
		},
		Rows: []SummaryRow{
			{Count: 12, Cells: []SummaryCell{known(12), known(18700), known(250_000), {Known: true, Mean: 1.25}, text("curl\n"), known(uint64(snapshot.Established)), known(111)}},
			{Count: 3, Cells: []SummaryCell{known(3), known(0), none, none, none, none, none}},
		},
		Rest:  SummaryRow{Count: 4, Cells: []SummaryCell{known(4), known(10), none, none, none, none, none}},
		Total: SummaryRow{Count: 19, Cells: []SummaryCell{known(19), known(18710), known(250_000), {Known: true, Mean: 0.5}, none, none, none}},
		Cut:   2, Over: 1,
	}
}

func TestSummaryText(t *testing.T) {
	for _, ascii := range []bool{false, true} {
		text := SummaryText{ASCII: ascii}
		got := string(text.Append(nil, sumOf()))
		want := `# 2026-11-24 12:04:05 +00:00, 10s
COUNT SUM(BYTES) P99(LATENCY) AVG(RETRANS) PROGRAM  STATE       ERRNO
   12    18.7 KB     0.250 ms          1.2 curl\n   ESTABLISHED ECONNREFUSED
    3        0 B            -            - -        -           -
    4       10 B            -            - … 2 more
   19    18.7 KB     0.250 ms          0.5 total
# more groups than --summary-groups: 1 counted in the rest

`
		if ascii {
			want = strings.ReplaceAll(strings.ReplaceAll(want, "… 2 more", "... 2 more"), "PROGRAM  ", "PROGRAM    ")
			want = strings.ReplaceAll(strings.ReplaceAll(want, `curl\n   `, `curl\n     `), "- -        -  ", "- -          -  ")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// A table of a view of one group has its titles and that group.
func TestSummaryTextOfAView(t *testing.T) {
	s := sumOf()
	s.Window, s.Cut, s.Over, s.Rows = 0, 0, 0, s.Rows[1:]
	got := string(new(SummaryText).Append(nil, s))
	const want = `COUNT SUM(BYTES) P99(LATENCY) AVG(RETRANS) PROGRAM STATE ERRNO
    3        0 B            -            - -       -     -
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSummaryRecords(t *testing.T) {
	var out bytes.Buffer
	w := newWriter(&out, NDJSONOptions{})
	if n := w.Summary(noon, sumOf()); n != 4 {
		t.Errorf("%d records", n)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	checkLines(t, out.Bytes())
	window := `,"window_start":"2026-11-24T12:04:05.123456Z","window_ns":10000000000`
	var want strings.Builder
	for i, rest := range []string{
		`,"rank":1,"count":12,"bytes_sum":18700,"latency_p99_ns":250000,"retrans_avg_milli":1250,"program":"curl\n","state":"ESTABLISHED","errno":"ECONNREFUSED"}`,
		`,"rank":2,"count":3,"bytes_sum":0}`,
		`,"rest":true,"groups":2,"groups_over":1,"count":4,"bytes_sum":10}`,
		`,"total":true,"groups":4,"count":19,"bytes_sum":18710,"latency_p99_ns":250000,"retrans_avg_milli":500}`,
	} {
		head := strings.Replace(envelope("000000", "agg"), `"seq":1`, `"seq":`+string(rune('1'+i)), 1)
		want.WriteString(head + window + rest + "\n")
	}
	if diff := cmp.Diff(want.String(), out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever stands in the keys, a group is one line of each form.
func TestSummaryIsWholeLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sumOf()
		s.Window, s.Cut, s.Over = 0, 0, 0
		s.Columns = append(s.Columns[:1], SummaryColumn{Name: "program", Title: "PROGRAM", Kind: SummaryString}, SummaryColumn{Name: "cmdline", Title: "CMDLINE", Kind: SummaryString})
		s.Rows = s.Rows[:1]
		for i, most := range []int{300, 5000} {
			s.Rows[0].Cells[1+i] = SummaryCell{Known: true, Text: names(most).Draw(t, "text")}
		}
		var out bytes.Buffer
		w := NewNDJSON(&out, NDJSONOptions{Host: names(300).Draw(t, "host")}, offset(0))
		w.Summary(noon, s)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if n := len(checkLines(t, out.Bytes())); n != 2 {
			t.Errorf("%d records", n)
		}
		text := SummaryText{ASCII: rapid.Bool().Draw(t, "ascii")}
		if lines := text.Append(nil, s); bytes.Count(lines, []byte("\n")) != 2 || bytes.ContainsFunc(lines, func(r rune) bool { return r < ' ' && r != '\n' }) {
			t.Errorf("text %q", lines)
		}
	})
}
