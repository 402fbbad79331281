package tracer

import "testing"

// TestMissed has runs of two programs skipped, of which one has a copy: events are
// missed where every copy was skipped, and that is reported once.
func TestMissed(t *testing.T) {
	var a, b, single uint64
	counter := func(n *uint64) skip { return skip{count: func() uint64 { return *n }} }
	l := losses{skipped: []skips{{counter(&a), counter(&b)}, {counter(&single)}}}
	for _, step := range []struct {
		name         string
		a, b, single uint64
		want         bool
	}{
		{"nothing", 0, 0, 0, false},
		{"one of two copies", 3, 0, 0, false},
		{"the other one", 3, 1, 0, true},
		{"nothing more", 3, 1, 0, false},
		{"the other one again", 3, 2, 0, false},
		{"both", 4, 3, 0, true},
		{"the one without a copy", 4, 3, 1, true},
		{"nothing more of it", 4, 3, 1, false},
		{"all", 5, 4, 2, true},
		{"nothing more of any", 5, 4, 2, false},
	} {
		a, b, single = step.a, step.b, step.single
		if got := l.missed(); got != step.want {
			t.Errorf("%s: missed is %t", step.name, got)
		}
	}
	s := newScan(-1)
	s.mend(false)
	if s.wanted || s.files {
		t.Error("a scan without a reason")
	}
	if s.mend(true); !s.wanted || !s.files {
		t.Error("no scan for what was missed, or none for owners")
	}
}
