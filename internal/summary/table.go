package summary

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/output"
)

// table returns the groups that there is something to tell of as a table, sorted, with
// what is cut off in the rest. The sums of the rows and the rest are the total.
func (g *groups) table(users output.Users) output.Summary {
	shown := slices.DeleteFunc(slices.Collect(maps.Values(g.byKey)), func(one *group) bool { return one.idle() })
	slices.SortFunc(shown, g.spec.compare)
	total, rest := group{amounts: newAmounts(g.spec)}, group{amounts: newAmounts(g.spec)}
	top := len(shown)
	if g.spec.top > 0 {
		top = min(top, g.spec.top)
	}
	t := output.Summary{Columns: g.spec.columns(), Cut: len(shown) - top, Over: g.over}
	for i, one := range shown {
		total.merge(one)
		if i < top {
			t.Rows = append(t.Rows, g.spec.row(one, users))
		} else {
			rest.merge(one)
		}
	}
	total.merge(&g.rest)
	rest.merge(&g.rest)
	t.Rest, t.Total = g.spec.row(&rest, users), g.spec.row(&total, users)
	return t
}

func (one *group) merge(other *group) {
	one.counts.add(&other.counts)
	for i := range other.amounts {
		one.amounts[i].merge(&other.amounts[i])
	}
}

// compare orders groups: by what is asked for, and those that are equal by their keys.
func (s *Spec) compare(a, b *group) int {
	var c int
	if s.order.key >= 0 {
		c = a.keys[s.order.key].compare(&b.keys[s.order.key])
	} else {
		c = s.compareMeasure(a, b)
	}
	if !s.order.rising {
		c = -c
	}
	for i := 0; c == 0 && i < len(a.keys); i++ {
		c = a.keys[i].compare(&b.keys[i])
	}
	return c
}

// compareMeasure compares what was measured. What is not known is least.
func (s *Spec) compareMeasure(a, b *group) int {
	m := &s.measures[s.order.measure]
	x, y := m.cell(a), m.cell(b)
	switch {
	case x.Known != y.Known:
		if x.Known {
			return 1
		}
		return -1
	case m.op == opMean:
		return cmp.Compare(x.Mean, y.Mean)
	}
	return cmp.Compare(x.Number, y.Number)
}

func (v *keyValue) compare(other *keyValue) int {
	switch {
	case v.known != other.known: // what is not known comes last
		if v.known {
			return -1
		}
		return 1
	case v.Text != other.Text:
		return cmp.Compare(v.Text, other.Text)
	case v.Addr != other.Addr:
		return v.Addr.Compare(other.Addr)
	}
	return cmp.Compare(v.Number, other.Number)
}

// row returns the cells of a group.
func (s *Spec) row(one *group, users output.Users) output.SummaryRow {
	row := output.SummaryRow{Count: one.count}
	for i := range s.measures {
		row.Cells = append(row.Cells, s.measures[i].cell(one))
	}
	for i := range s.keys {
		cell := output.SummaryCell{}
		if one.keys != nil {
			cell = s.keys[i].cell(&one.keys[i], users)
		}
		row.Cells = append(row.Cells, cell)
	}
	return row
}

// cell returns what was measured of a group.
func (m *measure) cell(one *group) output.SummaryCell {
	number := func(n uint64) output.SummaryCell { return output.SummaryCell{Known: true, Number: n} }
	switch m.op {
	case opCount, opEnded:
		return number(one.count)
	case opOpened:
		return number(one.opened)
	case opFailed:
		return number(one.failed)
	case opOpen:
		return number(one.open)
	}
	a := &one.amounts[m.of]
	switch {
	case m.op == opSum: // of nothing it is 0
		return number(a.sum)
	case a.n == 0:
		return output.SummaryCell{}
	case m.op == opMean:
		mean := float64(a.sum) / float64(a.n)
		return output.SummaryCell{Known: true, Mean: mean, Number: uint64(mean + 0.5)}
	case m.op == opMin:
		return number(a.least)
	case m.op == opMax:
		return number(a.most)
	}
	return number(a.quantile(m.quantile))
}

// cell returns the value of a key.
func (k *key) cell(v *keyValue, users output.Users) output.SummaryCell {
	c := output.SummaryCell{Known: v.known, Number: v.Number, Text: v.Text}
	if !v.known {
		return c
	}
	switch k.field.Type {
	case field.Addr:
		c.Text = v.Addr.String()
		if k.bits >= 0 {
			c.Text = netip.PrefixFrom(v.Addr, min(k.bits, v.Addr.BitLen())).String()
		}
	case field.Enum:
		c.Text = k.field.WordOf(v.Number)
		c.Known = c.Text != "" || k.field.Words == nil
	case field.User:
		if users != nil {
			c.Text = users.User(uint32(v.Number))
		}
		if c.Text == "" {
			c.Text = strconv.FormatUint(v.Number, 10)
		}
	case field.Device:
		if c.Text == "" {
			c.Text = strconv.FormatUint(v.Number, 10)
		}
	}
	return c
}
