package fieldlist

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var vocabulary = Vocabulary{
	Known:    []string{"seq", "local_addr", "local_port", "pid", "comm", "duration_ns"},
	Standard: []string{"local_addr", "local_port", "pid"},
	Group: func(name string) []string {
		if name == "local" {
			return []string{"local_addr", "local_port"}
		}
		return nil
	},
	Groups: []string{"local"},
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		list string
		want []string
		err  string
	}{
		{list: "pid,seq", want: []string{"pid", "seq"}},
		{list: "pid,pid,local,local_port", want: []string{"pid", "local_addr", "local_port"}},
		{list: "+comm,-local_port", want: []string{"local_addr", "pid", "comm"}},
		{list: "+pid", want: []string{"local_addr", "local_port", "pid"}},
		{list: "-comm", want: []string{"local_addr", "local_port", "pid"}},
		{list: "-local", want: []string{"pid"}},
		{list: "-local,+local", want: []string{"pid", "local_addr", "local_port"}},
		{list: "pid,+comm", err: "names with + or - change what is shown by default, others replace it: not both in one list"},
		{list: "", err: "a name is missing"},
		{list: "pid,", err: "a name is missing"},
		{list: "pdi", err: "no field 'pdi', near: pid"},
		{list: "-locl", err: "no field 'locl', near: local"},
		{list: "duration", err: "no field 'duration', near: duration_ns"},
		{list: "port", err: "no field 'port', near: local_port"},
		{list: "x", err: "no field 'x'; there are seq, local_addr, local_port, pid, comm, duration_ns, local"},
	} {
		got, err := vocabulary.Parse(tt.list)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || text != tt.err {
			t.Errorf("%q: error %q, want %q; fields (-want +got):\n%s", tt.list, text, tt.err, diff)
		}
	}
}

// A list of any names gives each of them once, in its order.
func TestParseKeepsTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.SampledFrom(vocabulary.Known), 1, -1, rapid.ID[string]).Draw(t, "names")
		got, err := vocabulary.Parse(strings.Join(names, ","))
		if err != nil || !slices.Equal(got, names) {
			t.Errorf("%v, %v, want %v", got, err, names)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"pid", "+pid,-comm", "", ",", "+", "--pid", "+-pid", "\xff", "pid,+"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got, err := vocabulary.Parse(list)
		if err != nil && got != nil {
			t.Errorf("fields %v and the error %v", got, err)
		}
		for _, name := range got {
			if !slices.Contains(vocabulary.Known, name) {
				t.Errorf("%q is unknown", name)
			}
		}
	})
}
