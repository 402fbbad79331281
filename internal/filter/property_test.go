package filter_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/snapshot"
)

func words(s string) []string { return strings.Fields(s) }

// predicates are what random expressions are made of.
var predicates = []string{
	"src 10.0.0.1", "src 10.0.0.0/8", "dst 10.0.0.2:80", "src = [2001:db8::1]", "dst [2001:db8::/32]:443",
	"src ::ffff:0:0/96", "dst ::/0", "src 0.0.0.0/0", "host 10.0.0.2", "net 10", "host in { 10/8, [::1] }", "src *", "dst != 10/8",
	"sport = :80", "sport 80", "dport != 443", "port 80", "port in { 80, 440-450 }", "sport >= 40000", "dport < http", "dport not in { 80, 443 }",
	"sport inet6:80", "dst web", "src both", "family = ipv4", "ip6", "tcp", "udp", "tcp port 80", "tcp dst 10/8",
	"netns web", "netns != 1", "dev lo", "dev != 2", "direction out", "state = established", "state != closed", "old_state syn-sent",
	"pid 100", "comm nginx", "comm !~ x", "uid 0", "user www-data", "has pid", "failed", "duration > 1s", "latency <= 20ms", "bytes > 1k",
}

// expression draws an expression without a head.
func expression(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		if depth == 0 || rapid.IntRange(0, 2).Draw(t, "leaf") == 0 {
			return rapid.SampledFrom(predicates).Draw(t, "predicate")
		}
		sub := func(name string) string { return expression(depth-1).Draw(t, name) }
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return "not " + rapid.SampledFrom(predicates).Draw(t, "predicate")
		case 1:
			return "! ( " + sub("a") + " )"
		case 2:
			return "( " + sub("a") + " )"
		case 3:
			return sub("a") + " or " + sub("b")
		case 4:
			return sub("a") + " and " + sub("b")
		}
		return "( " + sub("a") + " ) ( " + sub("b") + " )"
	})
}

// head draws the states before an expression.
var head = rapid.SampledFrom([]string{"", "", "", "state established", "exclude time-wait", "state connected exclude established", "state big state listening", "state established and", "state established or", "state unknown or"})

var addrs = []string{
	"10.0.0.1", "10.0.0.2", "192.0.2.1", "0.0.0.0", "::", "::1", "2001:db8::1", "2001:db8::2", "::ffff:10.0.0.1", "::ffff:10.0.0.2", "::ffff:192.0.2.1",
}

// record draws a record of the stream.
var record = rapid.Custom(func(t *rapid.T) *field.Subject {
	records := streamScene()
	s := records[rapid.SampledFrom([]string{"syn", "est", "refused", "closed", "old"}).Draw(t, "kind")]
	h := s.Head
	local := netip.MustParseAddr(rapid.SampledFrom(addrs).Draw(t, "local"))
	remote := netip.MustParseAddr(rapid.SampledFrom(addrs).Draw(t, "remote"))
	if local.Is4() != remote.Is4() {
		remote = local
	}
	ports := rapid.SampledFrom([]uint16{0, 79, 80, 443, 445, 8080, 40000, 65535})
	h.Local = netip.AddrPortFrom(local, ports.Draw(t, "lport"))
	h.Remote = netip.AddrPortFrom(remote, ports.Draw(t, "rport"))
	h.Netns = rapid.SampledFrom([]uint32{1, 4026531840}).Draw(t, "netns")
	h.Device = rapid.SampledFrom([]uint32{0, 1, 2}).Draw(t, "device")
	if rapid.Bool().Draw(t, "owned") {
		h.Owner.Process = &snapshot.Process{PID: 100, Comm: "nginx"}
	}
	return s
})

func TestPropertyPrint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := head.Draw(t, "head") + " " + expression(5).Draw(t, "expression")
		f, err := filter.Parse(text, filter.Options{})
		if err != nil {
			t.Fatal(err)
		}
		again, err := filter.Parse(f.String(), filter.Options{})
		if err != nil {
			t.Fatalf("%s is printed as %s: %v", text, f, err)
		}
		if again.String() != f.String() || !filter.Same(f, again) {
			t.Fatalf("%s is printed as %s, and that as %s", text, f, again)
		}
		if len(again.Notes) > 0 {
			t.Fatalf("the canonical form %s is ambiguous: %v", f, again.Notes)
		}
	})
}

// TestPropertyNecessary checks that the kernel's condition admits all that matches,
// whatever of it is not known yet.
func TestPropertyNecessary(t *testing.T) {
	useful := 0
	rapid.Check(t, func(t *rapid.T) {
		p := compileRapid(t, head.Draw(t, "head")+" "+expression(5).Draw(t, "expression"))
		n := p.Necessary()
		if len(n.Atoms) > snapshot.MaxAtoms || len(n.Terms) > snapshot.MaxTerms {
			t.Fatalf("%d atoms, %d terms", len(n.Atoms), len(n.Terms))
		}
		if !n.Always() {
			useful++
		}
		for range 20 {
			s := record.Draw(t, "record")
			unknown := snapshot.Unknown(rapid.IntRange(0, 127).Draw(t, "unknown"))
			if rapid.Bool().Draw(t, "all known") {
				unknown = 0
			}
			if s.Head.Local.Port() == 0 {
				unknown |= 1 << snapshot.AtomLocalPort // of a connect
			}
			if p.Match(s) && !n.Admits(s.Head, unknown) {
				t.Fatalf("%s matches %+v, which the condition does not admit\n%s", p.Canonical(), *s.Head, p.Explain())
			}
		}
	})
	if useful == 0 {
		t.Error("no condition excludes anything")
	}
}

func compileRapid(t *rapid.T, text string) *filter.Program {
	f, err := filter.Parse(text, filter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.Bind(fakeNames{}, inStream)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPropertyLogic checks that verdicts have two values: negation, De Morgan and the
// excluded middle hold, whatever is absent.
func TestPropertyLogic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := expression(3).Draw(t, "a"), expression(3).Draw(t, "b")
		match := func(format string) *filter.Program {
			return compileRapid(t, strings.NewReplacer("A", "( "+a+" )", "B", "( "+b+" )").Replace(format))
		}
		for _, law := range [][2]string{
			{"not not A", "A"},
			{"not ( A and B )", "not A or not B"},
			{"not ( A or B )", "not A and not B"},
			{"A or not A", "state all or state unknown"},
			{"A and not A", "state unknown"},
			{"A or B", "B or A"},
			{"A and ( A or B )", "A"},
		} {
			left, right := match(law[0]), match(law[1])
			if law[0] == "A or not A" {
				right = match("")
			}
			for range 5 {
				s := record.Draw(t, "record")
				if left.Match(s) != right.Match(s) {
					t.Fatalf("%s and %s differ for %+v\nA: %s\nB: %s", law[0], law[1], *s.Head, a, b)
				}
			}
		}
	})
}

// TestPropertyAdmits compares the condition with the filter where it is exact: all of
// it is about addresses and ports, and small.
func TestPropertyAdmits(t *testing.T) {
	exact := predicates[:23]
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.SampledFrom(exact).Draw(t, "a"), rapid.SampledFrom(exact).Draw(t, "b")
		text := rapid.SampledFrom([]string{"%s and %s", "%s or %s", "not ( %s or %s )", "%s and not ( %s )"}).Draw(t, "form")
		p := compileRapid(t, fmt.Sprintf(text, a, b))
		for range 20 {
			s := record.Draw(t, "record")
			if s.Head.Local.Port() == 0 {
				continue
			}
			if p.Match(s) != p.Necessary().Admits(s.Head, 0) {
				t.Fatalf("%s: match %v for %+v\n%s", p.Canonical(), p.Match(s), *s.Head, p.Explain())
			}
		}
	})
}
