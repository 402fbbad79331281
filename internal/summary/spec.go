// Package summary counts and measures sockets and connections by groups, as --summary
// asks for: one group for all that have the same values of some fields.
package summary

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
)

// Options say what a summary shows, in the words of the command line.
type Options struct {
	List   string      // keys and measures; empty: DefaultList
	Sort   string      // what the groups are sorted by; empty: the first measure, falling
	Top    int         // groups that are shown; 0: all
	Groups int         // groups that are kept in a window; 0: DefaultGroups
	In     field.Where // whether rows or records of the stream are summed up; of that with Others and Conns as it has them
}

// What is taken where nothing is said.
const (
	DefaultList   = "state"
	DefaultGroups = 10000
)

// Counts says what is counted.
type Counts uint8

// What can be counted.
const (
	Rows        Counts = iota // rows of a view
	Connections               // connections of the stream: those that began, ended, failed and are open
	Ends                      // connections of the stream, when they end
	Transitions               // transitions of connections of the stream
)

// Spec is a summary that makes sense.
type Spec struct {
	counts   Counts
	keys     []key
	measures []measure
	fields   []*field.Field // that measures are about, each once
	order    order
	changes  bool // what happened is a key, so that the end of a socket is a change, too
	top      int
	groups   int
}

// Counts returns what is counted.
func (s *Spec) Counts() Counts { return s.counts }

// Fields returns the fields that keys and measures are about.
func (s *Spec) Fields() []*field.Field {
	list := slices.Clone(s.fields)
	for _, k := range s.keys {
		list = append(list, k.field)
	}
	return list
}

// Check returns an error if records of a source never have one of the fields.
func (s *Spec) Check(in field.Where) error {
	for _, f := range s.Fields() {
		if f.In&in == 0 {
			return fmt.Errorf("--summary: '%s' is not known where the kernel's table is polled", f.Name())
		}
	}
	return nil
}

// key is what groups differ by.
type key struct {
	field *field.Field
	bits  int    // addresses are folded to networks of this length; -1: they are not
	typed string // as it was given
}

// measure is a column that is not a key.
type measure struct {
	op       op
	of       int     // index in Spec.fields; -1: of none
	quantile float64 // in percent
	typed    string
}

// op is how a measure comes about.
type op uint8

const (
	opCount op = iota
	opOpened
	opEnded
	opFailed
	opOpen
	opSum
	opMean
	opMin
	opMax
	opQuantile
)

var (
	counters = map[string]op{"count": opCount, "opened": opOpened, "ended": opEnded, "failed": opFailed, "open": opOpen}
	ops      = map[string]op{"sum": opSum, "avg": opMean, "min": opMin, "max": opMax}
)

// order is what the groups are sorted by.
type order struct {
	measure int // index of it, or
	key     int // of the key; -1: it is the measure
	rising  bool
}

// itemsMost bounds a list: the strings of so many keys have their place in a line of
// records.
const itemsMost = 12

// Parse reads the options. The error says which of them is wrong, and how.
func Parse(o *Options) (*Spec, error) {
	s := &Spec{top: o.Top, groups: o.Groups}
	if s.groups == 0 {
		s.groups = DefaultGroups
	}
	list := o.List
	if list == "" {
		list = DefaultList
	}
	if err := s.parseList(list, o.In); err != nil {
		return nil, fmt.Errorf("option '--summary': %w", err)
	}
	if err := s.chooseCounts(o.In); err != nil {
		return nil, fmt.Errorf("option '--summary': %w", err)
	}
	if err := s.parseSort(o.Sort); err != nil {
		return nil, fmt.Errorf("option '--sort': %w", err)
	}
	return s, nil
}

func (s *Spec) parseList(list string, in field.Where) error {
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		var err error
		if _, counts := counters[word]; counts || strings.HasSuffix(word, ")") {
			err = s.addMeasure(word, in)
		} else {
			err = s.addKey(word, in)
		}
		if err != nil {
			return err
		}
	}
	if n := len(s.keys) + len(s.measures); n > itemsMost {
		return fmt.Errorf("%d keys and measures, at most %d may be", n, itemsMost)
	}
	return nil
}

func (s *Spec) addKey(word string, in field.Where) error {
	name, length, network := strings.Cut(word, "/")
	f, err := lookup(name, in)
	if err != nil {
		return err
	}
	k := key{f, -1, word}
	if network {
		const longest = 128
		n, err := strconv.ParseUint(length, 10, 8)
		if f.Type != field.Addr || err != nil || n > longest {
			return fmt.Errorf("'%s': only addresses fold to networks, of 0 to %d bits, as remote_addr/24", word, longest)
		}
		k.bits = int(n)
	}
	if slices.ContainsFunc(s.keys, func(other key) bool { return other.field == f }) {
		return fmt.Errorf("'%s' stands twice", name)
	}
	s.keys = append(s.keys, k)
	return nil
}

// lookup returns the field of a name that records or rows can have.
func lookup(name string, in field.Where) (*field.Field, error) {
	f := field.Lookup(name)
	if f == nil {
		return nil, unknown(name)
	}
	if f.In&in == 0 {
		switch {
		case in == field.View && f.In&field.Stream != 0:
			return nil, fmt.Errorf("'%s' is known in the stream alone: add -c", name)
		case f.In&field.View != 0:
			return nil, fmt.Errorf("'%s' is known in the views alone: leave out -c", name)
		}
		return nil, fmt.Errorf("'%s' is not known here", name)
	}
	switch {
	case f.In&field.Others != 0 && in&field.Others == 0:
		return nil, fmt.Errorf("'%s' is known of UDP, raw and Unix sockets: add -u, -w or -x", name)
	case f.In&field.Conns != 0 && in&field.Others != 0 && in&field.Conns == 0:
		return nil, fmt.Errorf("'%s' is known of TCP connections: add -t", name)
	}
	return f, nil
}

// unknown returns the error for a name that no field and no measure has.
func unknown(name string) error {
	if name == "" {
		return errors.New("a name is missing")
	}
	near := field.Nearest(name, []string{"count", "opened", "ended", "failed", "open"})
	near = append(near, field.Near(name)...)
	if len(near) > 0 {
		return fmt.Errorf("no field or measure '%s', near: %s", name, strings.Join(near, ", "))
	}
	return fmt.Errorf("no field or measure '%s'", name)
}

func (s *Spec) addMeasure(word string, in field.Where) error {
	m := measure{of: -1, typed: word}
	if counter, ok := counters[word]; ok {
		m.op = counter
		return s.appendMeasure(&m)
	}
	function, name, _ := strings.Cut(strings.TrimSuffix(word, ")"), "(")
	if err := m.parseFunction(function); err != nil {
		return fmt.Errorf("'%s': %w", word, err)
	}
	f, err := lookup(name, in)
	if err != nil {
		return err
	}
	if !f.Numeric() || f.Key == "pid" || f.Key == "tid" || f.Key == "uid" || f.Key == "peer_pid" {
		return fmt.Errorf("'%s': %s is not an amount", word, name)
	}
	if m.of = slices.Index(s.fields, f); m.of < 0 {
		m.of = len(s.fields)
		s.fields = append(s.fields, f)
	}
	return s.appendMeasure(&m)
}

func (s *Spec) appendMeasure(m *measure) error {
	if slices.ContainsFunc(s.measures, func(other measure) bool {
		return other.op == m.op && other.of == m.of && other.quantile == m.quantile
	}) {
		return fmt.Errorf("'%s' stands twice", m.typed)
	}
	s.measures = append(s.measures, *m)
	return nil
}

// parseFunction reads sum, avg, min, max, p50, p99.9 and the like.
func (m *measure) parseFunction(name string) error {
	if o, ok := ops[name]; ok {
		m.op = o
		return nil
	}
	if digits, ok := strings.CutPrefix(name, "p"); ok {
		q, err := strconv.ParseFloat(digits, 64)
		if err == nil && !math.IsNaN(q) && q > 0 && q <= 100 && strings.Trim(digits, "0123456789.") == "" {
			m.op, m.quantile = opQuantile, q
			return nil
		}
		return errors.New("a percentile is above p0 and up to p100, as p99 or p99.9")
	}
	return errors.New("measures are count, sum(F), avg(F), min(F), max(F), p50(F) and the like")
}

// chooseCounts decides what is counted, and adds the measures that are shown where none
// are named.
func (s *Spec) chooseCounts(in field.Where) error {
	connections := slices.ContainsFunc(s.measures, func(m measure) bool {
		return m.op != opCount && m.op <= opOpen
	})
	s.changes = s.hasKey("change")
	state := s.changes || slices.ContainsFunc(s.keys, func(k key) bool { return k.field.Type == field.State })
	end := slices.ContainsFunc(s.Fields(), func(f *field.Field) bool { return f.In&field.End != 0 })
	endKey := slices.ContainsFunc(s.keys, func(k key) bool { return k.field.In&field.End != 0 })
	switch {
	case in&field.View != 0:
		s.counts = Rows
	case state && end:
		return errors.New("with a state transitions are counted, and what is known at the end of a connection is not known then: leave out one of both")
	case state:
		s.counts = Transitions
	case endKey || end && !connections:
		s.counts = Ends
	default:
		s.counts = Connections
	}
	if s.hasKey("outcome") && s.hasKey("reason") {
		return errors.New("outcome is of connections, reason of other sockets: take one of both")
	}
	if connections && s.counts != Connections {
		return errors.New("opened, ended, failed and open are of connections, whose keys are known while they are open")
	}
	if len(s.measures) == 0 {
		s.addDefaultMeasures()
	}
	return nil
}

// hasKey reports whether a field is among the keys.
func (s *Spec) hasKey(name string) bool {
	return slices.ContainsFunc(s.keys, func(k key) bool { return k.field.Key == name })
}

func (s *Spec) addDefaultMeasures() {
	if s.counts != Connections {
		s.measures = []measure{{op: opCount, of: -1, typed: "count"}}
		return
	}
	for _, name := range []string{"opened", "ended", "failed", "open"} {
		s.measures = append(s.measures, measure{op: counters[name], of: -1, typed: name})
	}
}

func (s *Spec) parseSort(item string) error {
	s.order = order{key: -1}
	if item == "" {
		return nil
	}
	name, falling := strings.CutPrefix(item, "-")
	s.order.rising = !falling
	var names []string
	for i, m := range s.measures {
		if m.typed == name {
			s.order.measure = i
			return nil
		}
		names = append(names, m.typed)
	}
	for i, k := range s.keys {
		if k.typed == name || field.Lookup(name) == k.field {
			s.order.key = i
			return nil
		}
		names = append(names, k.typed)
	}
	return fmt.Errorf("'%s' is not in the summary, which has %s", name, strings.Join(names, ", "))
}
