package filter

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/snapshot"
)

// Explain says how a run works a filter off: its canonical form, what the kernel's side
// can decide, what is read for the rest, and what names stand for. Each line ends with
// a newline.
func (p *Program) Explain() string {
	var b strings.Builder
	line := func(title, text string) { fmt.Fprintf(&b, "%-12s%s\n", title, text) }
	form := p.canonical
	if form == "" {
		form = "(all)"
	}
	line("filter", form)
	line("in kernel", p.inKernel())
	line("in program", "all of it, on each record")
	line("read", p.reads())
	if p.states && p.run.In == field.View {
		line("shown", "sockets in all states that the filter selects, whatever -a and -l say")
	}
	if p.ends {
		line("decided", "what is known at a connection's end, once for its last transition and its close")
	}
	for _, l := range p.looked {
		line("looked up", l)
	}
	return b.String()
}

// inKernel says what the kernel's side decides.
func (p *Program) inKernel() string {
	switch c := &p.necessary; {
	case p.run.In != field.Stream:
		return "nothing: rows are read as a whole"
	case p.run.Of.NoTCP:
		return "nothing: it decides of TCP alone"
	case c.Always():
		return "nothing: it cannot decide any of this for sure"
	case p.run.Of.Others:
		return "of TCP: " + describe(c)
	default:
		return describe(c)
	}
}

// reads says what is read for the filter beside rows and events.
func (p *Program) reads() string {
	if p.run.In != field.View {
		return "events have all of it"
	}
	var list []string
	for _, n := range []struct {
		need field.Need
		what string
	}{
		{field.Owners, "open files of all processes"},
		{field.Details, "names and executables of the owners"},
		{field.Contained, "what the owners run in"},
		{field.Attributed, "sock_diag's attributes of sockets"},
		{field.Autobound, "which ports the kernel chose"},
		{field.Peers, "the peers of Unix sockets"},
	} {
		if p.needs&n.need != 0 {
			list = append(list, n.what)
		}
	}
	if list == nil {
		return "rows have all of it"
	}
	return strings.Join(list, ", ")
}

// describe returns a condition in the words of the language.
func describe(c *snapshot.Condition) string {
	if len(c.Terms) == 0 {
		return "nothing can match"
	}
	terms := make([]string, len(c.Terms))
	for i, t := range c.Terms {
		var atoms []string
		for j := range c.Atoms {
			switch text := describeAtom(&c.Atoms[j]); {
			case t.Pos&(1<<j) != 0:
				atoms = append(atoms, text)
			case t.Neg&(1<<j) != 0:
				atoms = append(atoms, "not "+text)
			}
		}
		terms[i] = strings.Join(atoms, " and ")
		if len(c.Terms) > 1 && len(atoms) > 1 {
			terms[i] = "( " + terms[i] + " )"
		}
	}
	return strings.Join(terms, " or ")
}

func describeAtom(a *snapshot.Atom) string {
	switch a.Kind {
	case snapshot.AtomLocalAddr:
		return "src " + describePrefix(a)
	case snapshot.AtomRemoteAddr:
		return "dst " + describePrefix(a)
	case snapshot.AtomLocalPort:
		return "sport " + describePorts(a.Ports)
	case snapshot.AtomRemotePort:
		return "dport " + describePorts(a.Ports)
	case snapshot.AtomFamily:
		return fmt.Sprintf("family = ipv%d", a.Number)
	case snapshot.AtomNetns:
		return fmt.Sprintf("netns = %d", a.Number)
	}
	return fmt.Sprintf("dev = %d", a.Number)
}

func describePrefix(a *snapshot.Atom) string {
	addr := netip.AddrFrom16(a.Addr)
	n := int(a.Bits)
	if !a.OnlyIPv6 {
		addr, n = addr.Unmap(), n-96
	}
	return printPrefix(netip.PrefixFrom(addr, n), "")
}

func describePorts(ranges []snapshot.PortRange) string {
	list := make([]string, len(ranges))
	for i, r := range ranges {
		list[i] = printPort(&value{lo: uint64(r.Low), hi: uint64(r.High)})
	}
	if len(list) == 1 {
		return "= " + list[0]
	}
	return "in { " + strings.Join(list, ", ") + " }"
}
