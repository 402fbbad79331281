package filter

import (
	"fmt"
	"net/netip"

	"github.com/nettrace/nettrace/internal/field"
)

// Names looks up the names in a filter. Each is asked for once, when the run starts.
type Names interface {
	// Host returns all addresses of a host, none if there is no such host.
	Host(name string) []netip.Addr
	// Service returns the ports of a service, of all protocols.
	Service(name string) []uint16
	User(name string) (uid uint32, ok bool)
	// Device returns the index and the addresses of an interface.
	Device(name string) (index uint32, addrs []netip.Addr, ok bool)
	// DeviceName is the reverse of Device; empty: there is none.
	DeviceName(index uint32) string
	// Cgroup returns the id of a cgroup by its path below the cgroup2 mount.
	Cgroup(path string) (id uint64, ok bool)
	// CgroupPath is the reverse of Cgroup. It is asked whenever a cgroup is new.
	CgroupPath(id uint64) (path string, ok bool)
	// Netns returns the inode of a network namespace by name, path or pid:N.
	Netns(name string) (inode uint32, ok bool)
	// Known returns the names that there are for a type of field: for messages.
	Known(field.Type) []string
}

// Run says what a filter is bound for.
type Run struct {
	In       field.Where // field.View, field.Stream or field.Poll
	AllNetns bool        // sockets of several network namespaces are shown
	Marks    bool        // the process has CAP_NET_ADMIN
	Of       Protocols   // whose sockets a stream has
}

// Protocols say whose sockets a stream has: the zero value is that of TCP alone.
type Protocols struct {
	NoTCP  bool
	Others bool // UDP, raw or Unix sockets
	Unix   bool
}

// Bind looks up the names in a filter and makes a program for a run. An error is an
// *Error: of a field that no record of the run has, or of a name that is nowhere.
func (f *Filter) Bind(names Names, run Run) (*Program, error) {
	if err := f.Check(run); err != nil {
		return nil, err
	}
	p := &Program{canonical: f.String(), run: run, states: f.AsksState()}
	parts := f.parts
	if parts == nil {
		parts = []*Filter{f}
	}
	var all []*formula
	for _, part := range parts {
		if part.root == nil {
			continue
		}
		b := &binder{names: names, run: run, program: p, part: part}
		meaning := b.node(part.root)
		if b.err != nil {
			return nil, b.err
		}
		all = append(all, meaning)
	}
	meaning := allOf(all...)
	p.code = compile(meaning)
	p.necessary = necessary(meaning)
	return p, nil
}

// Check reports whether a record of a run can have each field that the filter names.
// It asks nobody. An error is an *Error.
func (f *Filter) Check(run Run) error {
	parts := f.parts
	if parts == nil {
		parts = []*Filter{f}
	}
	for _, part := range parts {
		var err error
		part.root.each(func(q *pred) {
			if e := checkPred(q, run); e != nil && err == nil {
				e.text, e.Option = part.text, part.option
				err = e
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// AsksState reports whether the filter names a state. Then it says which sockets are
// shown, and -a and -l do not.
func (f *Filter) AsksState() bool {
	asks := false
	f.root.each(func(q *pred) { asks = asks || q.field.Type == field.State })
	return asks
}

// each calls a function with each predicate, in order.
func (n *node) each(visit func(*pred)) {
	switch {
	case n == nil:
	case n.kind == leaf:
		visit(n.pred)
	default:
		for _, kid := range n.kids {
			kid.each(visit)
		}
	}
}

func checkPred(q *pred, run Run) *Error {
	f := q.field
	var what, hint string
	switch {
	case run.In == field.View && f.In&field.View == 0 && f.In&field.End != 0:
		what, hint = fmt.Sprintf("'%s' is known when a connection ends", q.typed()), "add -c"
	case run.In == field.View && f.In&field.View == 0:
		what, hint = fmt.Sprintf("'%s' is known in the stream alone", q.typed()), "add -c"
	case run.In == field.Poll && f.In&field.Poll == 0:
		what, hint = fmt.Sprintf("'%s' is not known where /proc is polled", q.typed()), "it needs the privilege for BPF: see nettrace --doctor"
	case f.In&run.In == 0:
		what, hint = fmt.Sprintf("'%s' is not known in the stream", q.typed()), "leave -c out: it is known in the views"
	case f.In&field.Others != 0 && !run.Of.Others:
		what, hint = fmt.Sprintf("'%s' is known of UDP, raw and Unix sockets", q.typed()), "add -u, -w or -x"
	case f.In&field.Conns != 0 && run.Of.NoTCP:
		what, hint = fmt.Sprintf("'%s' is known of TCP connections", q.typed()), "add -t"
	case f.Need&field.Marks != 0 && !run.Marks:
		what, hint = fmt.Sprintf("'%s' cannot be read", q.typed()), "the kernel tells marks to CAP_NET_ADMIN only"
	case f.Type == field.Device && run.AllNetns:
		what, hint = fmt.Sprintf("'%s' is of one network namespace", q.typed()), "leave --all-netns out"
	default:
		return checkUnix(q, run)
	}
	return &Error{What: what, Hint: hint, at: q.word}
}

// checkUnix says that no record has the name of a Unix socket, or that of its peer.
func checkUnix(q *pred, run Run) *Error {
	if q.field.Type != field.Addr || run.In == field.View {
		return nil
	}
	for i := range q.values {
		switch v := &q.values[i]; {
		case v.addr.unix && !run.Of.Unix:
			return &Error{What: "the stream has no Unix sockets", Hint: "add -x, or leave -c out", at: v.at}
		case v.addr.unix && q.field.Word == "dst":
			return &Error{What: "the stream does not know the name of a peer", Hint: "`src` is the socket's own; leave -c out for the peer's", at: v.at}
		}
	}
	return nil
}

// typed is the word of a predicate in messages.
func (q *pred) typed() string {
	if q.verb == holds && q.field.Word == "outcome" {
		return "failed"
	}
	return q.name()
}
