package filter

import (
	"math/bits"

	"github.com/nettrace/nettrace/snapshot"
)

// necessary makes the condition that every selected socket fulfils: the formula in
// negation normal form, with TRUE for each literal that the kernel cannot decide, as a
// small disjunction of terms. Since it is monotone in its literals, making any part of
// it TRUE keeps it necessary.
func necessary(f *formula) snapshot.Condition {
	b := &conditionBuilder{}
	return b.compact(b.terms(f, false))
}

// compact leaves out the atoms that no term has.
func (b *conditionBuilder) compact(terms []snapshot.Term) snapshot.Condition {
	var used uint16
	for _, t := range terms {
		used |= t.Pos | t.Neg
	}
	c := snapshot.Condition{Terms: make([]snapshot.Term, len(terms))}
	for i := range b.atoms {
		if used&(1<<i) == 0 {
			continue
		}
		place := uint16(1) << len(c.Atoms)
		for j, t := range terms {
			if t.Pos&(1<<i) != 0 {
				c.Terms[j].Pos |= place
			}
			if t.Neg&(1<<i) != 0 {
				c.Terms[j].Neg |= place
			}
		}
		c.Atoms = append(c.Atoms, b.atoms[i])
	}
	return c
}

// conditionBuilder collects the atoms.
type conditionBuilder struct{ atoms []snapshot.Atom }

// always is TRUE.
var always = []snapshot.Term{{}}

// terms returns the formula, or its negation, as a disjunction.
func (b *conditionBuilder) terms(f *formula, negated bool) []snapshot.Term {
	switch {
	case f.kind == not:
		return b.terms(f.kids[0], !negated)
	case f.kind == leaf:
		return b.literal(f, negated)
	}
	conjunction := (f.kind == and) != negated
	var sum []snapshot.Term
	if conjunction {
		sum = always
	}
	for _, kid := range f.kids {
		terms := b.terms(kid, negated)
		if conjunction {
			sum = product(sum, terms)
		} else {
			sum = union(sum, terms)
		}
	}
	return sum
}

// literal returns one test as a term.
func (b *conditionBuilder) literal(f *formula, negated bool) []snapshot.Term {
	switch {
	case f.test == nil && f.value == negated, f.test != nil && f.test.tcp != 0 && (f.test.tcp > 0) == negated:
		return nil
	case f.test == nil || f.test.atom == nil:
		return always
	}
	i := b.atom(f.test.atom)
	switch {
	case i < 0:
		return always
	case negated:
		return []snapshot.Term{{Neg: 1 << i}}
	}
	return []snapshot.Term{{Pos: 1 << i}}
}

// atom returns the place of an atom, or -1 if there are too many.
func (b *conditionBuilder) atom(a *snapshot.Atom) int {
	for i := range b.atoms {
		if b.atoms[i].Equal(a) {
			return i
		}
	}
	if len(b.atoms) == snapshot.MaxAtoms {
		return -1
	}
	b.atoms = append(b.atoms, *a)
	return len(b.atoms) - 1
}

// union returns the disjunction of two, or TRUE where it would be too large.
func union(a, b []snapshot.Term) []snapshot.Term {
	sum := append([]snapshot.Term{}, a...)
	for _, t := range b {
		sum = absorb(sum, t)
	}
	if len(sum) > snapshot.MaxTerms {
		return always
	}
	return sum
}

// product returns the conjunction of two, or the smaller one where it would be too
// large.
func product(a, b []snapshot.Term) []snapshot.Term {
	var sum []snapshot.Term
	for _, s := range a {
		for _, t := range b {
			both := snapshot.Term{Pos: s.Pos | t.Pos, Neg: s.Neg | t.Neg}
			if both.Pos&both.Neg != 0 {
				continue
			}
			sum = absorb(sum, both)
		}
	}
	switch {
	case len(sum) <= snapshot.MaxTerms:
		return sum
	case weight(a) <= weight(b):
		return a
	}
	return b
}

// weight is how little a disjunction excludes: few terms with many atoms exclude most.
func weight(terms []snapshot.Term) int {
	n := 0
	for _, t := range terms {
		n += 32 - bits.OnesCount16(t.Pos) - bits.OnesCount16(t.Neg)
	}
	return n
}

// absorb adds a term, unless another one holds wherever it does, and drops those that
// hold only where it does.
func absorb(sum []snapshot.Term, t snapshot.Term) []snapshot.Term {
	kept := make([]snapshot.Term, 0, len(sum)+1)
	for _, s := range sum {
		if s.Pos&^t.Pos == 0 && s.Neg&^t.Neg == 0 {
			return sum
		}
		if t.Pos&^s.Pos != 0 || t.Neg&^s.Neg != 0 {
			kept = append(kept, s)
		}
	}
	return append(kept, t)
}
