package output

import (
	"bytes"
	"slices"
)

// pick reduces lines to chosen members, in the order in which they were chosen. The
// lines are those of the encoder: flat objects, whose keys need no escapes. Working
// on the finished line makes no difference to how it is made: whatever caches or
// orders members, the values are those of the whole line.
type pick struct {
	names []string         // of the chosen members
	slots [pickSlots]uint8 // a hash table of them: 1 + the index in names; 0: free
	found []member         // in the line at hand, by index; empty: it is not there
	cuts  []int            // where strings of the line were cut
	out   []byte           // scratch
}

// pickSlots is several times as many as there are members, so that most of those that
// are not chosen meet a free slot: a map takes three times as long.
const pickSlots = 256

// member is where a key and its value stand in a line.
type member struct{ start, end int }

// keptFields are in every line, whatever is chosen: when, what, and which. A record
// of a sample says at which rate it was taken.
var keptFields = []string{"timestamp", "event", "seq"}

const sampleField = "sample_rate"

// newPick returns a pick of members, or nil for all of them.
func newPick(fields []string) *pick {
	if fields == nil {
		return nil
	}
	return pickOf(keptFields, fields, []string{sampleField})
}

// pickOf returns a pick of the members of some lists, each once.
func pickOf(lists ...[]string) *pick {
	p := new(pick)
	for _, list := range lists {
		for _, name := range list {
			if name != truncatedField && p.index([]byte(name)) < 0 { // end adds that one
				p.add(name)
			}
		}
	}
	p.found = make([]member, len(p.names))
	return p
}

func (p *pick) add(name string) {
	p.names = append(p.names, name)
	slot := slotOf([]byte(name))
	for p.slots[slot] != 0 {
		slot = (slot + 1) % pickSlots
	}
	p.slots[slot] = uint8(len(p.names))
}

// index returns which of the chosen members a key is, or -1.
func (p *pick) index(key []byte) int {
	for slot := slotOf(key); p.slots[slot] != 0; slot = (slot + 1) % pickSlots {
		if i := int(p.slots[slot]) - 1; p.names[i] == string(key) {
			return i
		}
	}
	return -1
}

// slotOf returns where a key is looked for first. No key is empty.
func slotOf(key []byte) uint {
	n := len(key)
	return (uint(n)*31 + uint(key[0])*7 + uint(key[n/2])*59 + uint(key[n-1])*13) % pickSlots
}

const truncatedField = "truncated"

// begin forgets the line before.
func (p *pick) begin() { p.cuts = p.cuts[:0] }

// cut remembers that the string that ends at an offset is not whole.
func (p *pick) cut(at int) { p.cuts = append(p.cuts, at) }

// reduce replaces buf[line:], an object without its last brace, by the chosen
// members, and reports whether one of them was cut.
func (p *pick) reduce(buf []byte, line int) (_ []byte, cut bool) {
	clear(p.found)
	for at := line + 1; at < len(buf); {
		key, end := scanMember(buf, at)
		if i := p.index(key); i >= 0 {
			p.found[i] = member{at, end}
		}
		at = end + 1 // past the comma
	}
	p.out = append(p.out[:0], '{')
	for _, m := range p.found {
		if m.end == 0 {
			continue
		}
		if len(p.out) > 1 {
			p.out = append(p.out, ',')
		}
		p.out = append(p.out, buf[m.start:m.end]...)
		for _, at := range p.cuts {
			cut = cut || m.start < at && at <= m.end
		}
	}
	return append(buf[:line], p.out...), cut
}

// strip removes the members of buf[start:] that are not chosen, each of which has a
// comma before it. What is kept for later lines is stripped, as most of a line is.
func (p *pick) strip(buf []byte, start int) []byte {
	to := start
	for at := start; at < len(buf); {
		key, end := scanMember(buf, at+1)
		if p.index(key) >= 0 {
			for i, cut := range p.cuts {
				if at < cut && cut <= end {
					p.cuts[i] -= at - to
				}
			}
			to += copy(buf[to:], buf[at:end])
		} else {
			p.forget(at, end)
		}
		at = end
	}
	return buf[:to]
}

// forget drops the cuts within a range.
func (p *pick) forget(start, end int) {
	p.cuts = slices.DeleteFunc(p.cuts, func(at int) bool { return start < at && at <= end })
}

// scanMember returns the key of the member that begins at an offset, and where its
// value ends.
func scanMember(buf []byte, at int) (key []byte, end int) {
	colon := at + 1 + bytes.IndexByte(buf[at+1:], '"') + 1
	key = buf[at+1 : colon-1]
	switch end = colon + 1; buf[end] {
	case '"':
		end = scanString(buf, end)
	case '[':
		for end++; end < len(buf) && buf[end] != ']'; {
			if buf[end] == '"' {
				end = scanString(buf, end)
			} else {
				end++
			}
		}
		end++
	default:
		for end < len(buf) && buf[end] != ',' {
			end++
		}
	}
	return key, end
}

// scanString returns where the string that begins at an offset ends.
func scanString(buf []byte, at int) int {
	for {
		at += 1 + bytes.IndexByte(buf[at+1:], '"')
		escapes := at
		for buf[escapes-1] == '\\' {
			escapes--
		}
		if (at-escapes)%2 == 0 {
			return at + 1
		}
	}
}
