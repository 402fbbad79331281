package filter

import (
	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/snapshot"
)

// Program is a filter whose names are known. It decides records one after another, from
// one goroutine.
type Program struct {
	code      []step
	needs     field.Need
	states    bool
	ends      bool
	canonical string
	looked    []string // what was looked up, and what was found
	necessary snapshot.Condition
	run       Run
}

// step is a test and where its answer leads: to another step or to the end.
type step struct {
	holds   func(*field.Subject) bool
	yes, no int32
}

// Where a program ends.
const (
	accept int32 = -1 - iota
	reject
)

// Match reports whether a record is selected. It allocates nothing, but for what it
// learns of a process or cgroup that is new to it.
func (p *Program) Match(s *field.Subject) bool {
	i := int32(0)
	if len(p.code) == 0 {
		return true
	}
	for i >= 0 {
		if st := &p.code[i]; st.holds(s) {
			i = st.yes
		} else {
			i = st.no
		}
	}
	return i == accept
}

// Needs returns what is to be read for the filter.
func (p *Program) Needs() field.Need { return p.needs }

// AsksState is that of the filter.
func (p *Program) AsksState() bool { return p.states }

// Canonical returns the canonical form.
func (p *Program) Canonical() string { return p.canonical }

// Necessary returns what every TCP socket fulfils that the filter selects, as far as
// the kernel's side can tell. It is Always where that is no help.
func (p *Program) Necessary() *snapshot.Condition { return &p.necessary }

// compile makes a flat program of a formula: last parts first, as each needs to know
// where it leads.
func compile(f *formula) []step {
	c := &compiler{}
	if entry := c.part(f, accept, reject); entry < 0 {
		always := entry == accept
		return []step{{func(*field.Subject) bool { return always }, accept, reject}}
	}
	return c.inOrder()
}

// compiler has the steps in reverse.
type compiler struct{ steps []step }

// part adds the steps of a formula and returns the first of them.
func (c *compiler) part(f *formula, yes, no int32) int32 {
	switch f.kind {
	case not:
		return c.part(f.kids[0], no, yes)
	case and:
		for i := len(f.kids) - 1; i >= 0; i-- {
			yes = c.part(f.kids[i], yes, no)
		}
		return yes
	case or:
		for i := len(f.kids) - 1; i >= 0; i-- {
			no = c.part(f.kids[i], yes, no)
		}
		return no
	}
	switch {
	case f.test != nil:
		c.steps = append(c.steps, step{f.test.holds, yes, no})
		return int32(len(c.steps) - 1)
	case f.value:
		return yes
	}
	return no
}

// inOrder returns the steps in the order in which they are taken.
func (c *compiler) inOrder() []step {
	last := int32(len(c.steps) - 1)
	place := func(i int32) int32 {
		if i < 0 {
			return i
		}
		return last - i
	}
	code := make([]step, len(c.steps))
	for i, s := range c.steps {
		code[place(int32(i))] = step{s.holds, place(s.yes), place(s.no)}
	}
	return code
}
