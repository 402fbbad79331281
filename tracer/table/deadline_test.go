package table_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/tracer/table"
)

// TestDeadline lets a reader sleep until Deadline, at any moment: before that silence
// decides nothing, and then what is due is decided, so that it does not come again.
func TestDeadline(t *testing.T) {
	waited := 0
	rapid.Check(t, func(t *rapid.T) {
		m, merged, _ := newModel(t)
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			m.run(20)
			merged.Settle(m.clock)
			due := merged.Deadline()
			if due <= m.clock {
				t.Fatalf("due at %d, it is %d, and all was settled", due, m.clock)
			}
			before := merged.Stats().Reported
			if due == table.Never {
				merged.Settle(m.clock + 1e12)
			} else {
				waited++
				m.clock = rapid.Uint64Range(m.clock, due-1).Draw(t, "asleep until")
				merged.Settle(m.clock)
			}
			if n := merged.Stats().Reported - before; n != 0 {
				t.Fatalf("%d changes were reported before they were due at %d", n, due)
			}
			if due != table.Never && rapid.Bool().Draw(t, "until then") {
				m.clock = due
				merged.Settle(due)
				if again := merged.Deadline(); again <= due {
					t.Fatalf("due at %d, and at %d once that was settled", due, again)
				}
			}
		}
	})
	if waited == 0 {
		t.Error("nothing ever waited: the test tests nothing")
	}
}
