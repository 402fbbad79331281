package table

import "testing"

// TestRecent has an end reported a second time after hundreds of others.
func TestRecent(t *testing.T) {
	var r recent
	const first, others = 7, 500
	r.add(first)
	for key := uint64(100); key < 100+others; key++ {
		r.add(key)
	}
	if !r.has(first) || r.has(first+1) {
		t.Error("what ended is not known, or something else is")
	}
	if r.has(0) {
		t.Error("what has no key ended")
	}
	if r.remove(first); r.has(first) {
		t.Error("what began again is still known as ended")
	}
}
