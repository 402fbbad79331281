package field

import (
	"net/netip"
	"slices"

	"github.com/nettrace/nettrace/snapshot"
)

// Type is the type of a field's values: which operators it takes, and how they are
// written.
type Type uint8

// The types.
const (
	Addr     Type = iota // an address
	Port                 // a port, 0 to 65535
	Number               // a number
	ID                   // a number without order, as an inode
	Size                 // a number of bytes
	Duration             // a time in ns
	State                // a TCP state
	Enum                 // one of Words
	String               // text of the kernel or a process, raw
	Device               // the index of an interface; 0: none
	Mark                 // a firewall mark
	Cgroup               // the id of a cgroup
	User                 // a UID
	Netns                // the inode of a network namespace
	Errno                // an error number
)

// Where says which records can have a field.
type Where uint8

// The records. A field of End is known in the last transition of a connection and its
// close, or in the close of another socket. Conns and Others narrow what else it is in.
const (
	View   Where = 1 << iota // rows of the socket views
	Stream                   // records of the stream
	End                      // the end of a connection, in the stream
	Poll                     // records of the stream where it polls
	Conns                    // in the stream of TCP connections alone
	Others                   // in the stream of other sockets alone
)

// Need says what must be read for a field, beside rows and events.
type Need uint8

// The needs. They are for views; the stream has what it has.
const (
	Owners     Need = 1 << iota // which process holds which socket
	Details                     // name and executable of that process
	Attributed                  // Attributes
	Marks                       // CAP_NET_ADMIN
	Autobound                   // which ports the kernel chose
	Peers                       // the peers of Unix sockets
	Contained                   // what that process runs in
)

// Known says how well a value is known.
type Known uint8

// A value is absent, exact, or the least that it can be: a duration whose start was
// not seen.
const (
	Absent Known = iota
	Exact
	AtLeast
)

// Field is a row of the table.
type Field struct {
	Key     string   // of the NDJSON schema; empty: records have no such key
	Word    string   // canonical in filters
	Aliases []string // further names
	Type    Type
	In      Where
	Need    Need
	InBPF   bool // a filter on it can be decided by the tracing programs
	Words   []string

	// One of these reads the value. ofProcess is for what several processes may
	// have different values of.
	addr      func(*Subject) (netip.Addr, bool)
	number    func(*Subject) (uint64, Known)
	text      func(*Subject) (string, bool)
	ofProcess func(*snapshot.Process) (Value, bool)
}

// Value is a value of a field: a number, an address or a text, as its type has it. Of
// an Enum it is the index of a word, of a State the number.
type Value struct {
	Number  uint64
	Text    string
	Addr    netip.Addr
	AtLeast bool // the number is a lower bound
}

// Value reads the field. It is false where the subject does not have it. Of several
// owners the first one counts, as in netstat.
func (f *Field) Value(s *Subject) (Value, bool) {
	switch {
	case f.addr != nil:
		a, ok := f.addr(s)
		return Value{Addr: a}, ok
	case f.number != nil:
		n, known := f.number(s)
		return Value{Number: n, AtLeast: known == AtLeast}, known != Absent
	case f.text != nil:
		t, ok := f.text(s)
		return Value{Text: t}, ok
	case f.ofProcess != nil && s.Head.Owner.Process != nil:
		return f.ofProcess(s.Head.Owner.Process)
	}
	return Value{}, false
}

// Each reads the field of each process that holds the socket, and calls a function
// until it returns true; a field of the socket itself has one value. It reports whether
// the function did, and whether there was a value.
func (f *Field) Each(s *Subject, test func(Value) bool) (held, known bool) {
	if f.ofProcess == nil {
		v, ok := f.Value(s)
		return ok && test(v), ok
	}
	p, i := s.Head.Owner.Process, 0
	for {
		if p != nil {
			if v, ok := f.ofProcess(p); ok {
				known = true
				if test(v) {
					return true, true
				}
			}
		}
		if i == len(s.Others) {
			return false, known
		}
		p = s.Others[i]
		i++
	}
}

// Name is how the field is called in messages: by its word.
func (f *Field) Name() string { return f.Word }

// Numeric reports whether sums and means of the field make sense.
func (f *Field) Numeric() bool {
	switch f.Type {
	case Number, Size, Duration:
		return true
	}
	return false
}

// Ordered reports whether one value can be less than another.
func (f *Field) Ordered() bool { return f.Numeric() || f.Type == Port }

// Lookup returns the field of a name: its key, its word or another name. It returns
// nil if there is none.
func Lookup(name string) *Field { return byName[name] }

// All returns the fields in the order of the table, which is that of the schema.
func All() []*Field { return all }

// Near returns the canonical words of the fields whose names a word may be meant for.
func Near(name string) []string {
	return NearestOf(name, func(yield func(name, shown string) bool) {
		for _, f := range all {
			for _, n := range f.names() {
				if !yield(n, n) {
					return
				}
			}
		}
	})
}

// names returns all names of the field, the canonical one first.
func (f *Field) names() []string {
	list := []string{f.Word}
	if f.Key != "" && f.Key != f.Word {
		list = append(list, f.Key)
	}
	return append(list, f.Aliases...)
}

var (
	all    []*Field
	byName = map[string]*Field{}
)

func init() {
	for i := range fields {
		f := &fields[i]
		all = append(all, f)
		for _, name := range f.names() {
			if byName[name] != nil || slices.Contains(f.Aliases, f.Word) {
				panic("field: the name " + name + " stands twice in the table")
			}
			byName[name] = f
		}
	}
}
