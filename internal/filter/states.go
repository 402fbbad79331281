package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/snapshot"
)

// A set of states is a mask of their numbers, 1<<state. Bit 0 is ss's "unknown", which
// no socket has.
type stateSet = uint64

// stateNames are ss's names in ss's order, which is that of the numbers.
var stateNames = [...]string{
	0: "unknown",

	snapshot.Established: "established",
	snapshot.SynSent:     "syn-sent",
	snapshot.SynRecv:     "syn-recv",
	snapshot.FinWait1:    "fin-wait-1",
	snapshot.FinWait2:    "fin-wait-2",
	snapshot.TimeWait:    "time-wait",
	snapshot.Close:       "closed",
	snapshot.CloseWait:   "close-wait",
	snapshot.LastAck:     "last-ack",
	snapshot.Listen:      "listening",
	snapshot.Closing:     "closing",
}

const (
	allStates       stateSet = 1<<len(stateNames) - 1
	unconnected              = 1<<snapshot.Listen | 1<<snapshot.Close
	connectedStates          = allStates &^ unconnected
	bucketStates    stateSet = 1<<snapshot.SynRecv | 1<<snapshot.TimeWait
)

// stateGroups are ss's names of sets.
var stateGroups = []struct {
	name string
	set  stateSet
}{
	{"all", allStates},
	{"connected", connectedStates},
	{"synchronized", connectedStates &^ (1 << snapshot.SynSent)},
	{"bucket", bucketStates},
	{"big", allStates &^ bucketStates},
}

// stateAliases are further names: ss's, those that ss and netstat print.
var stateAliases = map[string]string{
	"syn-rcv": "syn-recv", "close": "closed", "unconnected": "closed", "unconn": "closed",
	"listen": "listening", "estab": "established", "fin-wait1": "fin-wait-1", "fin-wait2": "fin-wait-2",
	"syn-received": "syn-recv",
}

// stateOf returns the set that a word names, in any case, with - or _.
func stateOf(text string) (stateSet, bool) {
	name := strings.ReplaceAll(strings.ToLower(text), "_", "-")
	if canonical := stateAliases[name]; canonical != "" {
		name = canonical
	}
	if i := slices.Index(stateNames[:], name); i >= 0 {
		return 1 << i, true
	}
	for _, g := range stateGroups {
		if g.name == name {
			return g.set, true
		}
	}
	return 0, false
}

// nearStates returns the names that a word may be meant for.
func nearStates(text string) []string {
	name := strings.ReplaceAll(strings.ToLower(text), "_", "-")
	return field.NearestOf(name, func(yield func(name, shown string) bool) {
		for _, n := range stateNames[1:] {
			if !yield(n, n) {
				return
			}
		}
		for _, g := range stateGroups {
			if !yield(g.name, g.name) {
				return
			}
		}
		for _, alias := range sortedKeys(stateAliases) {
			if !yield(alias, stateAliases[alias]) {
				return
			}
		}
	})
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// stateWords returns the names of a set.
func stateWords(set stateSet) []string {
	for _, g := range stateGroups {
		if g.set == set {
			return []string{g.name}
		}
	}
	var words []string
	for i, name := range stateNames {
		if set&(1<<i) != 0 {
			words = append(words, name)
		}
	}
	return words
}

// state reads one state.
func (p *parser) state(t token, what string) stateSet {
	if t.kind != word {
		p.missingValue(t, what)
		return 0
	}
	set, ok := stateOf(t.text)
	if !ok {
		p.fail(t.at, fmt.Sprintf("no TCP state '%s'", t.text), nearHint("", nearStates(t.text)))
	}
	return set
}

// head reads the states that stand before all else, each after state, exclude or excl:
// a set that is worked off from left to right. It returns nil if there are none.
func (p *parser) head() *node {
	var set stateSet
	at, some := span{from: p.pos}, false
	for p.err == nil {
		before := p.pos
		t := p.token()
		next := p.peek()
		if !t.is("state", "exclude", "excl") || t.is("state") && next.is("!=", "ne", "neq", "~", "!~", "<", "<=", ">", ">=") ||
			t.is("state") && p.listFollows(next) {
			if p.err == nil {
				p.pos = before
			}
			break
		}
		exclude := !t.is("state")
		if !some && exclude {
			set = allStates
		}
		some = true
		if next.is("=", "eq") {
			p.token()
		}
		named := p.headStates(t)
		if exclude {
			set &^= named
		} else {
			set |= named
		}
		at.to = p.pos
	}
	if !some || p.err != nil {
		return nil
	}
	if set == 0 {
		set = 1 // "unknown", in which no socket is
	}
	return leafOf(&pred{field: field.Lookup("state"), values: []value{{lo: set, at: at}}, at: at, word: at})
}

// headStates reads the states after one word of the head.
func (p *parser) headStates(t token) stateSet {
	set := p.state(p.token(), t.text)
	for p.err == nil && p.peek().is(",") {
		p.token()
		set |= p.state(p.token(), t.text)
	}
	return set
}

// listFollows reports whether a token begins in { or not in {.
func (p *parser) listFollows(next token) bool {
	if next.is("in", "IN", "not", "NOT") {
		before := p.pos
		p.token()
		follows := p.peek().is("{") || p.peek().is("in", "IN")
		if p.err == nil {
			p.pos = before
		}
		return follows
	}
	return false
}
