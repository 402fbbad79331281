package filter_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/filter/filtertest"
)

// hard are expressions that a reader may stumble over.
var hard = []string{
	"", " ", "((((", strings.Repeat("!", 500), strings.Repeat("!", 2000) + "tcp", "{", "}", ",", `\`, "'", `"`, "\x00", "\xff\xfe", "src \xff", "::", "[]", "[", "]", ":", "*:*",
	"src ::", "src []", "src [", "src :", "src *:*", "src [:", "src []:", "unix:a)b", "src unix:a)b", "(src unix:a)b)", "src unix:a,b", "in {", "comm in {", "comm in {,", "comm in { }",
	"dst host", "dst in", "dst not", "dst not in", "dst not in {", "dst =", "dst = =", "src or dst port 80", "src and", "dst net", "dst port",
	"tcp tcp", "tcp = 1", "tcp src", "state", "state =", "state ,", "state established,", "state state", "exclude", "excl", "state unknown", "state in {listening}",
	"state not in {listening}", "state established or", "state established and", "state established )", "has", "has has", "failed failed", "autobound = true",
	"port 1-2-3", "port -1-", "port 0x", "port 0x10-0x20", "port 99999999999999999999", "pid 18446744073709551616", "pid 0x", "uid 1-", "bytes > k", "bytes > 18446744073709551615G",
	"duration > -1s", "duration > 9999999h", "latency 1", "fwmark /", "fwmark 1/", "fwmark 0x/0x", "dst 1.2.3.4.5", "dst 1..2", "dst 1.", "dst 10/", "dst /", "dst /8", "dst 10/8/8",
	"dst 10.0.0.1:80:90", "dst 10.0.0.1:", "dst ::1:", "dst ::1/", "dst ::1/64/64", "dst [::1/64]:80", "dst [::1%lo]", "dst fe80::1%lo", "dst fe80::1%lo/64", "dst [fe80::%]",
	"dst inet:", "dst inet6:", "dst inet6:*:80", "dst link:", "sport inet6:", "sport unix:", "sport :*", "sport *", "comm ~", "comm ~ (", "comm ~ '('", "comm ~ " + strings.Repeat("(", 1000),
	"comm 'a", `comm "a\"b"`, `comm a\ b`, "comm a'b'c", "program ''", "cgroup '/a b'", "cgroup /a,b", "cgroup /a/*", "cgroup /*", "dev lo,eth0", "iface 2", "iface 3", "comm a,b,c==d",
	"a or b and c", "tcp or udp and ip6 or sport 1 and sport 2", "日本 語", "port 80 \u00a0", "(" + strings.Repeat("tcp or ", 50) + "udp)", "src = unix:[", "src unix:[!", "src unix:[]", "src unix:[^]", `src 'unix:\'`, "src @\x00", "src [a-z]*",
}

func FuzzParse(f *testing.F) {
	for _, line := range hard {
		f.Add(line, false)
		f.Add(line, true)
	}
	for line := range strings.SplitSeq(filtertest.SSTable, "\n") {
		expressions, _, _ := strings.Cut(line, " ⇒ ")
		for e := range strings.SplitSeq(expressions, " ≡ ") {
			f.Add(strings.ReplaceAll(e, "'", ""), false)
		}
	}
	for _, m := range messages {
		f.Add(strings.NewReplacer("«", "", "»", "", "-c ", "").Replace(m.typed), false)
	}
	for _, p := range predicates {
		f.Add(p, false)
	}
	f.Fuzz(func(t *testing.T, text string, onlyUnix bool) { parseAny(t, text, filter.Options{Unix: onlyUnix}) })
}

// parseAny reads any text. An error stands in the text; what has none is printed in a
// form that is read as the same, and runs.
func parseAny(t *testing.T, text string, opts filter.Options) {
	f, err := filter.Parse(text, opts)
	var e *filter.Error
	if errors.As(err, &e) {
		if from, to := e.Span(); from < 0 || from > to || to > len(text) {
			t.Fatalf("%q: carets from %d to %d: %v", text, from, to, err)
		}
		if strings.Count(err.Error(), "\n") > 3 {
			t.Fatalf("%q: %v", text, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if len(f.String()) > most {
		return
	}
	again, err := filter.Parse(f.String(), opts)
	if err != nil || again.String() != f.String() || !filter.Same(f, again) {
		t.Fatalf("%q is printed as %q, and that as %q: %v", text, f, again, err)
	}
	runAny(t, f, inView)
	runAny(t, f, inStream)
}

func runAny(t *testing.T, f *filter.Filter, run filter.Run) {
	p, err := f.Bind(fakeNames{}, run)
	if err != nil {
		return // a name that is nowhere, or a field that is not known there
	}
	records := scene()
	if run == inStream {
		records = streamScene()
	}
	for name, s := range records {
		if p.Match(s) && !p.Necessary().Admits(s.Head, 1<<2) && s.Transport == 0 { // the port of one is not known
			t.Fatalf("%s selects %s, which the kernel's condition does not admit", p.Canonical(), name)
		}
	}
	_ = p.Explain()
}

const most = 64 << 10 // bytes of an expression

// TestLimits checks the bounds of an expression, and that reading one is not quadratic:
// each of these takes milliseconds.
func TestLimits(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("or ", most/3), strings.Repeat("tcp or ", most/7) + "tcp", strings.Repeat("tcp ", most/4), strings.Repeat("(", most), strings.Repeat("tcp)", most/4),
		strings.Repeat("! ", most/2), "dport in {" + strings.Repeat("1,", most/2-10) + "1}", "comm in {" + strings.Repeat("a,", most/2-10) + "a}", "src " + strings.Repeat("a", most-4),
		strings.Repeat("'", most), strings.Repeat("src 10/8 or dst 10/8 and ", most/25-1) + "tcp", "src " + strings.Repeat("1,", most/2-4) + "1", strings.Repeat(":", most),
		strings.Repeat("state listening ", most/16-1), strings.Repeat("tcp src 10/8 ", most/13), "cgroup " + strings.Repeat(",", most-7),
		strings.Repeat("tcp or udp and ", most/15-1) + "tcp", strings.Repeat("tcp or udp and ( ", 999) + "tcp" + strings.Repeat(" )", 999), "dport =" + strings.Repeat(" ", most-8) + "1", strings.Repeat("host 10/8 and ", most/14-1) + "tcp",
	} {
		parseAny(t, text, filter.Options{})
	}
	for text, want := range map[string]string{
		strings.Repeat(" ", most+1):                           "an expression has at most 64 KiB",
		strings.Repeat("( ", 1001) + "tcp":                    "groups and negations go 1000 deep at most",
		strings.Repeat("( ", 1000) + "tcp":                    "'(' is not closed",
		strings.Repeat("not ", 1001) + "tcp":                  "groups and negations go 1000 deep at most",
		strings.Repeat("not ( ", 501) + strings.Repeat("", 1): "groups and negations go 1000 deep at most",
	} {
		_, err := filter.Parse(text, filter.Options{})
		var e *filter.Error
		if !errors.As(err, &e) || e.What != want {
			t.Errorf("%.20q...: %v, want %s", text, err, want)
		}
	}
	deep := strings.Repeat("( ", 1000) + "tcp" + strings.Repeat(" )", 1000)
	if f, err := filter.Parse(deep, filter.Options{}); err != nil || f.String() != "transport = tcp" {
		t.Errorf("1,000 groups: %v, %v", f, err)
	}
}
