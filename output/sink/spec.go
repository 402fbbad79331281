package sink

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
)

// Kind is what kind of place lines go to.
type Kind uint8

// The kinds of places.
const (
	ToFile         Kind = iota // a file, FIFO or device
	ToStdout                   // the standard output
	ToUnix                     // a unix stream socket
	ToUnixDatagram             // a unix datagram socket
	ToTCP
)

// Spec is one output as the command line names it.
type Spec struct {
	Kind   Kind
	Place  string // path or HOST:PORT; empty: stdout
	Events string // all, close or failed
	Schema string // native or ecs
	Fields string // names with commas between, as --fields takes them; empty: all
	Rotate Rotation
}

// prefixes are how places that are no files are named.
var prefixes = []struct {
	text string
	kind Kind
}{
	{"unix:", ToUnix},
	{"unixgram:", ToUnixDatagram},
	{"tcp:", ToTCP},
}

// String returns the place as ParseSpec reads it.
func (s *Spec) String() string {
	if s.Kind == ToStdout {
		return "-"
	}
	for _, p := range prefixes {
		if p.kind == s.Kind {
			return p.text + s.Place
		}
	}
	return s.Place
}

// ParseSpec reads PLACE[,KEY=VALUE...]. PLACE is FILE, - for stdout, unix:PATH,
// unixgram:PATH or tcp:HOST:PORT. What the keys do not say is as in standard. The
// error tells the key or the part of the place that is wrong.
func ParseSpec(text string, standard *Spec) (Spec, error) {
	words := strings.Split(text, ",")
	s := *standard
	if err := s.setPlace(words[0]); err != nil {
		return Spec{}, err
	}
	given := make(map[string]bool)
	for _, word := range words[1:] {
		key, value, ok := strings.Cut(word, "=")
		if err := s.set(key, value, ok); err != nil {
			return Spec{}, err
		}
		if given[key] {
			return Spec{}, fmt.Errorf("key '%s' stands twice", key)
		}
		given[key] = true
	}
	if err := s.check(given); err != nil {
		return Spec{}, err
	}
	return s, nil
}

// maxUnixPath is the longest path of a unix socket, include/uapi/linux/un.h.
const maxUnixPath = 107

func (s *Spec) setPlace(place string) error {
	s.Kind, s.Place = ToFile, place
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(place, p.text); ok {
			s.Kind, s.Place = p.kind, rest
		}
	}
	switch {
	case place == "-":
		s.Kind, s.Place = ToStdout, ""
		return nil
	case strings.IndexByte(place, 0) >= 0:
		return errors.New("a NUL byte stands in the place")
	case s.Place == "":
		return fmt.Errorf("'%s': the place is missing: FILE, -, unix:PATH, unixgram:PATH or tcp:HOST:PORT", place)
	case s.Kind == ToFile:
		return checkFile(place)
	case s.Kind == ToTCP:
		return checkHostPort(s.Place)
	case len(s.Place) > maxUnixPath:
		return fmt.Errorf("the path of a unix socket has at most %d bytes, and this one %d", maxUnixPath, len(s.Place))
	}
	return nil
}

// checkFile checks that the name of a file is not meant for a kind of place that there is
// not: nobody looks for a file udp:HOST:PORT.
func checkFile(name string) error {
	kind, _, ok := strings.Cut(name, ":")
	if !ok || kind == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz") != "" {
		return nil
	}
	return fmt.Errorf("'%s': no places are named %s:, there are unix:PATH, unixgram:PATH and tcp:HOST:PORT (a FILE of this name: ./%s)", name, kind, name)
}

// checkHostPort checks HOST:PORT. The port may be a name; what it means is looked up
// for each connection.
func checkHostPort(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("'tcp:%s': it takes tcp:HOST:PORT, an IPv6 address in brackets: tcp:[::1]:514", address)
	}
	if n, err := strconv.Atoi(port); err == nil && (n < 1 || n > 65535) {
		return fmt.Errorf("'tcp:%s': a port is from 1 to 65535", address)
	}
	return nil
}

// specKey is one key of a spec.
type specKey struct {
	name string
	file bool // it is about files alone
	set  func(s *Spec, value string) error
}

// specKeys returns the keys, in the order of messages.
func specKeys() []specKey {
	return []specKey{
		{"events", false, func(s *Spec, v string) error { return s.choose(&s.Events, v, "all", "close", "failed") }},
		{"schema", false, func(s *Spec, v string) error { return s.choose(&s.Schema, v, "native", "ecs") }},
		{"fields", false, (*Spec).setFields},
		{"rotate-size", true, func(s *Spec, v string) error { return s.Rotate.SetSize(v) }},
		{"rotate-age", true, func(s *Spec, v string) error { return s.Rotate.SetAge(v) }},
		{"rotate-keep", true, func(s *Spec, v string) error { return s.Rotate.SetKeep(v) }},
		{"compress", true, func(s *Spec, v string) error { return s.Rotate.SetCompress(v) }},
	}
}

// set sets what a key is about. valued says whether a = follows the key.
func (s *Spec) set(key, value string, valued bool) error {
	var names []string
	for _, k := range specKeys() {
		names = append(names, k.name)
		if k.name != key {
			continue
		}
		if !valued || value == "" {
			return fmt.Errorf("key '%s' needs a value: %s=VALUE", key, key)
		}
		if k.file && s.Kind != ToFile {
			return fmt.Errorf("key '%s' is about files, and %s is none", key, s)
		}
		if err := k.set(s, value); err != nil {
			return fmt.Errorf("key '%s' %w", key, err)
		}
		return nil
	}
	if near := field.Nearest(key, names); len(near) > 0 {
		return fmt.Errorf("no key '%s', near: %s", key, strings.Join(near, ", "))
	}
	return fmt.Errorf("no key '%s'; there are %s (a FILE has no comma in its name)", key, strings.Join(names, ", "))
}

// choose sets one word of several.
func (*Spec) choose(to *string, value string, words ...string) error {
	if !slices.Contains(words, value) {
		return fmt.Errorf("takes %s, not '%s'", strings.Join(words, ", "), value)
	}
	*to = value
	return nil
}

// setFields reads names with + between, as commas end the value. Where the first has a
// sign, the names add to the standard and take from it: +a-b.
func (s *Spec) setFields(value string) error {
	if value[0] == '+' || value[0] == '-' {
		value = value[:1] + strings.NewReplacer("+", ",+", "-", ",-").Replace(value[1:])
	} else {
		value = strings.ReplaceAll(value, "+", ",")
	}
	s.Fields = value
	return nil
}

// check checks the keys against each other.
func (s *Spec) check(given map[string]bool) error {
	for _, key := range []string{"rotate-keep", "compress"} {
		if given[key] && !s.Rotate.on() {
			return fmt.Errorf("key '%s' needs rotate-size or rotate-age", key)
		}
	}
	if s.Kind == ToFile {
		return s.Rotate.Check()
	}
	return nil
}

// Distinct returns an error where two outputs have one place: their lines would mix.
func Distinct(specs []Spec) error {
	places := make(map[string]bool)
	for i := range specs {
		place := specs[i].String()
		if whole, err := filepath.Abs(place); err == nil && specs[i].Kind == ToFile {
			place = whole
		}
		if places[place] {
			return fmt.Errorf("%s stands twice", place)
		}
		places[place] = true
	}
	return nil
}
