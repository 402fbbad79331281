package filter_test

import (
	"net/netip"
	"testing"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
)

// fakeNames has the names of a small machine.
type fakeNames struct{}

var fakeHosts = map[string][]netip.Addr{
	"web":   {netip.MustParseAddr("10.0.0.2")},
	"both":  {netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::2")},
	"host":  {netip.MustParseAddr("192.0.2.7")},
	"local": {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")},
}

var fakeServices = map[string][]uint16{"http": {80}, "https": {443}, "domain": {53}, "split": {70, 71}}

func (fakeNames) Host(name string) []netip.Addr { return fakeHosts[name] }

func (fakeNames) Service(name string) []uint16 { return fakeServices[name] }

func (fakeNames) User(name string) (uint32, bool) {
	uid, ok := map[string]uint32{"root": 0, "nobody": 65534, "www-data": 33}[name]
	return uid, ok
}

func (fakeNames) Device(name string) (uint32, []netip.Addr, bool) {
	switch name {
	case "lo":
		return 1, []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}, true
	case "eth0":
		return 2, []netip.Addr{netip.MustParseAddr("10.0.0.1")}, true
	}
	return 0, nil, false
}

func (fakeNames) DeviceName(index uint32) string {
	if index == 2 {
		return "eth0"
	}
	return ""
}

func (fakeNames) Cgroup(path string) (uint64, bool) {
	id, ok := map[string]uint64{"/": 1, "/web": 70, "/web/a": 71}[path]
	return id, ok
}

func (fakeNames) CgroupPath(id uint64) (string, bool) {
	path, ok := map[uint64]string{1: "/", 70: "/web", 71: "/web/a"}[id]
	return path, ok
}

func (fakeNames) Netns(name string) (uint32, bool) { return 4026531840, name == "web" }

func (fakeNames) Known(t field.Type) []string {
	switch t {
	case field.Port:
		return []string{"http", "https", "domain", "split"}
	case field.User:
		return []string{"root", "nobody", "www-data"}
	case field.Device:
		return []string{"lo", "eth0"}
	case field.Cgroup:
		return []string{"/", "/web", "/web/a"}
	case field.Netns:
		return []string{"web"}
	}
	return nil
}

var (
	inView   = filter.Run{In: field.View, Marks: true}
	inStream = filter.Run{In: field.Stream}

	inSockets = filter.Run{In: field.Stream, Of: filter.Protocols{NoTCP: true, Others: true, Unix: true}}
)

// compile makes a program of an expression that has no error.
func compile(t *testing.T, text string, run filter.Run) *filter.Program {
	t.Helper()
	f, err := filter.Parse(text, filter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.Bind(fakeNames{}, run)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
