package filter

import (
	"net/netip"
	"path"
	"regexp" //nolint:depguard // as in operands.go
	"slices"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/snapshot"
)

// marks asks for the firewall mark.
func (b *binder) marks(q *pred, f *field.Field) *formula {
	var list []*formula
	for _, v := range q.values {
		list = append(list, asked(func(s *field.Subject) bool {
			mark, ok := f.Value(s)
			return ok && mark.Number&v.hi == v.lo
		}, nil))
	}
	return anyOf(list...)
}

// texts asks for a text of a process, or for the name of a Unix socket.
func (b *binder) texts(q *pred, f *field.Field) *formula {
	is := func(text string) bool {
		return slices.ContainsFunc(q.values, func(v value) bool { return v.text == text })
	}
	if q.verb == matches || q.verb == unmatched {
		is = regexp.MustCompile(q.values[0].text).MatchString
	}
	switch {
	case f.Word == "container":
		return containers(q, is)
	case f.Need&field.Contained != 0:
		return asked(func(s *field.Subject) bool {
			v, ok := f.Value(s)
			return ok && is(v.Text)
		}, nil)
	}
	switch f.Word {
	case "program":
		return ofProcess(cached(func(p *snapshot.Process) bool {
			held, _ := field.ProgramNames(p, is)
			return held
		}))
	case "cmdline": // arguments end with NUL; people write spaces
		return ofProcess(cached(func(p *snapshot.Process) bool {
			return p.Cmdline != "" && is(strings.ReplaceAll(strings.TrimRight(p.Cmdline, "\x00"), "\x00", " "))
		}))
	case "path":
		return asked(func(s *field.Subject) bool {
			path, ok := f.Value(s)
			return ok && is(path.Text)
		}, nil)
	case "exe":
		return ofProcess(cached(func(p *snapshot.Process) bool { return p.Exe != "" && is(p.Exe) }))
	}
	return ofProcess(cached(func(p *snapshot.Process) bool { return p.Comm != "" && is(p.Comm) }))
}

// containers asks for a container by the begin of its id or by its name, or has a regular
// expression look for both.
func containers(q *pred, is func(string) bool) *formula {
	if q.verb == matches || q.verb == unmatched {
		return asked(func(s *field.Subject) bool { return field.ContainerNames(s, is) }, nil)
	}
	return asked(func(s *field.Subject) bool {
		return slices.ContainsFunc(q.values, func(v value) bool { return field.NamesContainer(s, v.text) })
	}, nil)
}

// cgroups asks for the cgroup of the socket: by id, by its exact path, by a path with
// all that is below it (PATH/*), or by a regular expression on the path.
func (b *binder) cgroups(q *pred, f *field.Field) *formula {
	if q.verb == matches || q.verb == unmatched {
		return b.cgroupPath(f, regexp.MustCompile(q.values[0].text).MatchString)
	}
	var list []*formula
	for i := range q.values {
		v := &q.values[i]
		above, below := strings.CutSuffix(v.text, "/*")
		name := path.Clean("/" + above)
		switch {
		case !v.named:
			list = append(list, inRanges(f, []numberRange{{v.lo, v.hi}}, nil))
			continue
		case below && name == "/":
			list = append(list, isPresent(f))
			continue
		}
		id, ok := b.names.Cgroup(name)
		if !ok {
			b.missing(field.Cgroup, v, "no cgroup '%s' below the cgroup2 mount")
			continue
		}
		b.found(v.text, id)
		if below {
			list = append(list, b.cgroupPath(f, func(p string) bool { return p == name || strings.HasPrefix(p, name+"/") }))
			continue
		}
		list = append(list, inRanges(f, []numberRange{{id, id}}, nil))
	}
	return anyOf(list...)
}

// cgroupPath asks for the path of a cgroup, each once.
func (b *binder) cgroupPath(f *field.Field, is func(string) bool) *formula {
	answers := map[uint64]bool{}
	return asked(func(s *field.Subject) bool {
		id, ok := f.Value(s)
		if !ok {
			return false
		}
		answer, known := answers[id.Number]
		if !known {
			path, ok := b.names.CgroupPath(id.Number)
			answer = ok && is(path)
			answers[id.Number] = answer
		}
		return answer
	}, nil)
}

// interfaces asks for the interface that a socket is bound to or, where it is bound to
// none, that has its local address.
func (b *binder) interfaces(q *pred, f *field.Field) *formula {
	var indexes []uint32
	addrs := map[netip.Addr]bool{}
	for i := range q.values {
		v := &q.values[i]
		name := v.text
		if !v.named {
			name = b.names.DeviceName(uint32(v.lo))
		}
		index, mine, ok := b.names.Device(name)
		if !ok {
			b.missing(field.Device, v, "no interface '%s' in this network namespace")
			continue
		}
		indexes = append(indexes, index)
		for _, a := range mine {
			addrs[a.WithZone("")] = true
		}
	}
	return asked(func(s *field.Subject) bool {
		if v, ok := f.Value(s); ok && v.Number != 0 {
			return slices.Contains(indexes, uint32(v.Number))
		}
		return addrs[localAddr(s).Unmap()]
	}, nil)
}
