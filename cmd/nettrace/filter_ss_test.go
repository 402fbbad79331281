package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/filter/filtertest"
)

// Filters are compared with ss itself, in a scene with sockets of every kind: first the
// table of what ss is known to select, then random expressions. The test binary plays
// the scene as a process of its own, in a network namespace of its own.

const (
	roleFilter = "filter"
	seedVar    = "NETTRACE_TEST_SEED"
)

// ssReport is what came of the comparison.
type ssReport struct {
	Compared, Differ int
	Rows             int // that both selected
	Errors           []string
}

func (r *ssReport) fail(format string, args ...any) {
	const most = 40
	r.Differ++
	if len(r.Errors) < most {
		r.Errors = append(r.Errors, fmt.Sprintf(format, args...))
	}
}

// TestFilterSSTable compares ss and nettrace with the table.
func TestFilterSSTable(t *testing.T) { playFilters(t, "table", 0) }

// TestFilterSSRandom compares random expressions, each in ss's spelling, in nettrace's
// own, and in the canonical form, which is given to ss as well.
func TestFilterSSRandom(t *testing.T) {
	t.Parallel() // with the scenes of netstat; the other scenes of filters are over, whose cgroup has the same name
	playFilters(t, "random", rand.Uint64())
}

// TestFilterSSUnix compares patterns of names of Unix sockets.
func TestFilterSSUnix(t *testing.T) { playFilters(t, "unix", 0) }

// TestFilterSSText checks that what a filter selects in text and what its negation does
// are together the whole view, in its order, by fields that ss does not have, too.
func TestFilterSSText(t *testing.T) { playFilters(t, "text", 0) }

func playFilters(t *testing.T, what string, seed uint64) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skip("needs ss(8), package iproute2")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	count := 3000 // random expressions
	if inMachine {
		count = 500
	}
	cmd := exec.Command(self)
	cmd.Env = append(testEnviron(), roleVar+"="+roleFilter, sceneVar+"="+what, fmt.Sprintf("%s=%d %d", seedVar, seed, count))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scene: %v\n%s", err, stderr.Bytes())
	}
	var r ssReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("scene: %v\n%s\n%s", err, out, stderr.Bytes())
	}
	for _, e := range r.Errors {
		t.Error(e)
	}
	t.Logf("seed %d: %d compared, %d differ, %d rows selected", seed, r.Compared, r.Differ, r.Rows)
	if r.Compared == 0 || r.Rows == 0 {
		t.Error("nothing was compared")
	}
}

// playFilterScene is the process of the scene.
func playFilterScene(what, seed string) error {
	s, err := setScene()
	defer s.end()
	if err != nil {
		return err
	}
	r := new(ssReport)
	switch what {
	case "table":
		err = s.compareTable(r)
	case "unix":
		err = s.compareUnix(r)
	case "text":
		err = s.compareText(r)
	default:
		var n uint64
		var count int
		_, _ = fmt.Sscan(seed, &n, &count)
		err = s.compareRandom(r, rand.New(rand.NewPCG(n, 1)), count)
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(r))
}

// ss runs ss and returns the sockets that it lists.
func ss(args ...string) ([]string, error) {
	cmd := exec.Command("ss", append([]string{"-Hntua"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		return nil, fmt.Errorf("ss %q: %v: %s", args, err, firstLine(stderr.String()))
	}
	var ids []string
	for line := range strings.Lines(string(out)) {
		columns := strings.Fields(line)
		if len(columns) < 4 {
			return nil, fmt.Errorf("ss %q: %s", args, line)
		}
		local, remote := ssEndpoint(columns[len(columns)-2]), ssEndpoint(columns[len(columns)-1])
		ids = append(ids, socketID(columns[0], local, remote))
	}
	slices.Sort(ids)
	return ids, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// ssEndpoint reads an address and port as ss prints them: * is any IPv6 address, or no
// port, and a device may stand behind the address.
func ssEndpoint(text string) netip.AddrPort {
	colon := strings.LastIndexByte(text, ':')
	host, port := text[:colon], text[colon+1:]
	if bracket := strings.IndexByte(host, ']'); bracket > 0 {
		host = host[1:bracket]
	}
	host, _, _ = strings.Cut(host, "%")
	if host == "*" {
		host = "::"
	}
	var n uint16
	_, _ = fmt.Sscan(port, &n) // not of *
	a, _ := netip.ParseAddr(host)
	return netip.AddrPortFrom(a, n)
}

// selected runs nettrace in this process and returns the sockets that it lists.
func selected(expression string) ([]string, error) {
	e, out, errs := testEnv("nettrace")
	st := run(e, []string{"nettrace", "-tuan", "--json", "--filter", expression})
	if st != statusOK {
		return nil, fmt.Errorf("nettrace --filter %q: status %d: %s", expression, st, errs)
	}
	var ids []string
	for line := range bytes.Lines(out.Bytes()) {
		var r struct {
			Transport  string `json:"transport"`
			LocalAddr  string `json:"local_addr"`
			LocalPort  uint16 `json:"local_port"`
			RemoteAddr string `json:"remote_addr"`
			RemotePort uint16 `json:"remote_port"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%w: %s", err, line)
		}
		ids = append(ids, socketID(r.Transport, addrPortOf(r.LocalAddr, r.LocalPort), addrPortOf(r.RemoteAddr, r.RemotePort)))
	}
	slices.Sort(ids)
	return ids, nil
}

func addrPortOf(addr string, port uint16) netip.AddrPort {
	a, _ := netip.ParseAddr(addr) // absent: not valid
	return netip.AddrPortFrom(a.WithZone(""), port)
}

// compareTable compares both with each line of the table.
func (s *ssScene) compareTable(r *ssReport) error {
	if all, err := ss(); err != nil || len(all) != len(s.ids) {
		return fmt.Errorf("ss shows %d sockets, want %d: %w", len(all), len(s.ids), err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(filtertest.SSTable), "\n") {
		expressions, names, ok := strings.Cut(line, " ⇒ ")
		want, err := s.expand(names)
		if !ok || err != nil {
			return fmt.Errorf("the table has %q: %w", line, err)
		}
		for expression := range strings.SplitSeq(expressions, " ≡ ") {
			if err := s.timeWaits(); err != nil {
				return err
			}
			s.compareLine(r, expression, want)
		}
	}
	return nil
}

func (s *ssScene) compareLine(r *ssReport, expression string, want []string) {
	r.Compared++
	r.Rows += len(want)
	if got, err := ss(shellWords(expression)...); err != nil || !slices.Equal(got, want) {
		r.fail("ss %s: %v: %s", expression, err, s.difference(want, got))
	}
	if notAsSS[expression] != "" {
		return
	}
	if got, err := selected(strings.ReplaceAll(expression, "'", "")); err != nil || !slices.Equal(got, want) {
		r.fail("nettrace --filter %q: %v: %s", expression, err, s.difference(want, got))
	}
}

// shellWords splits at spaces outside of single quotes.
func shellWords(text string) []string {
	var list []string
	for i, part := range strings.Split(text, "'") {
		if i%2 == 1 {
			list = append(list, part)
		} else {
			list = append(list, strings.Fields(part)...)
		}
	}
	return list
}

// difference lists what is missing and what is too much, by name.
func (s *ssScene) difference(want, got []string) string {
	names := map[string]string{}
	for name, id := range s.ids {
		names[id] = name
	}
	var list []string
	for _, id := range want {
		if !slices.Contains(got, id) {
			list = append(list, "-"+names[id]+" ("+id+")")
		}
	}
	for _, id := range got {
		if !slices.Contains(want, id) {
			list = append(list, "+"+names[id]+" ("+id+")")
		}
	}
	return strings.Join(list, " ")
}

// expand returns the sockets of a list of names.
func (s *ssScene) expand(names string) ([]string, error) {
	list, but := strings.CutPrefix(names, "all but ")
	if names == "all" {
		list, but = "", true
	}
	named := map[string]bool{}
	for _, word := range strings.Fields(list) {
		if word == "0" {
			continue
		}
		found := s.group(word)
		if len(found) == 0 {
			return nil, fmt.Errorf("no socket %s", word)
		}
		for _, name := range found {
			named[s.ids[name]] = true
		}
	}
	var ids []string
	for _, id := range s.ids {
		if named[id] != but {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// group returns the names that one word of the table stands for.
func (s *ssScene) group(word string) []string {
	var found []string
	for name := range s.ids {
		switch {
		case word == name, name == word+"c", name == word+"s",
			word == "L*" && s.listeners[name] != 0,
			word == "TW*" && strings.HasPrefix(name, "TW"),
			word == "U*" && (name == "U53" || name == "U5353"):
			found = append(found, name)
		}
	}
	if _, exact := s.ids[word]; exact {
		return []string{word}
	}
	return found
}

// spelling is one expression: as ss has it, word by word, and as nettrace may.
type spelling struct{ ss, own string }

// ssLeaves are predicates of which both make the same, under not too.
var ssLeaves = []spelling{
	{"sport = :80", "lport==80"},
	{"sport eq 443", "local_port = 443"},
	{"sport != :443", "sport!=443"},
	{"dport = :9000", "dst port 9000"},
	{"dport ne 80", "dport not in {80}"},
	{"sport >= :40201", "sport>=40201"},
	{"( sport geq 40000 sport leq :40010 )", "src portrange 40000-40010"},
	{"dport < :1024", "remote_port<1024"},
	{"dport > 8000", "rport > 8000"},
	{"( sport = :80 or dport = :80 )", "port 80"},
	{"( sport = :http or sport = :8080 )", "sport in {http, 8080}"},
	{"( dport = :443 or dport = :8080 or dport = :9000 )", "dport 443,8080,9000"},
	{"src :80", "src *:80"},
	{"dst any:443", "dst port https"},
	{"src 10.0.0.2", "src=10.0.0.2"},
	{"src 10.0.0.2:80", "(src host 10.0.0.2 and sport 80)"},
	{"dst 10.0.0.0/8", "dst net 10"},
	{"dst 10.9/16", "raddr = 10.9.0.0/16"},
	{"src 10.9.0.1/24:443", "(laddr=10.9.0/24 sport=443)"},
	{"src 127.0.0.1", "src in {127.0.0.1}"},
	{"( src 10.0.0.0/24 or src 198.51.100.0/24 )", "src in {10.0.0/24, 198.51.100.0/24}"},
	{"( src 10.0.0.1 or dst 10.0.0.1 )", "host 10.0.0.1"},
	{"( src 10.9.0.0/16 or dst 10.9.0.0/16 )", "net 10.9"},
	{"dst [::1]", "dst ::1"},
	{"src 2001:db8::/32", "src = [2001:db8::/32]"},
	{"src [2001:db8::2]:443", "(src 2001:db8::2 and sport 443)"},
	{"src fe80::/10", "src in {fe80::/10}"},
	{"dst ::ffff:10.0.0.0/104", "dst [::ffff:10.0.0.0/104]"},
	{"src [::ffff:10.0.0.2]", "laddr=[::ffff:10.0.0.2]"},
	{"dst ::ffff:0:0/96", "raddr ::ffff:0:0/96"},
	{"dst web", "dst=web"},
	{"src web6", "src=[2001:db8::2]"},
	{"dev = lo", "device lo"},
	{"dev != eth9", "dev not in {eth9}"},
	{"dev 0", "dev==0"},
	{"fwmark = 0x10", "mark=16"},
	{"fwmark 0x10/0xf0", "mark 0x10/0xf0"},
	{"fwmark != 0x3/0x3", "fwmark!=0x3/0x3"},
	{"cgroup = /ntflt", "cgroup ntflt"},
	{"cgroup != /ntflt", "cgroup!=/ntflt"},
}

// ssHeads are the states before an expression.
var ssHeads = []spelling{
	{"", ""},
	{"", ""},
	{"", ""},
	{"state established", "state=ESTAB"},
	{"state connected", "state connected and"},
	{"exclude established", "state != established"},
	{"state fin-wait-1 state fin-wait-2 state closing", "state FIN_WAIT1,FIN_WAIT2,CLOSING"},
	{"exclude listening exclude time-wait", "state not in {LISTEN, TIME_WAIT}"},
	{"state synchronized exclude bucket", "state in {synchronized} and state not in {bucket}"},
	{"state all", ""},
}

// randomList draws a list of terms with operators between them, which both read from
// left to right.
func randomList(r *rand.Rand, depth int) spelling {
	list := randomTerm(r, depth)
	for range r.IntN(3) {
		op := []spelling{
			{" and ", " AND "}, {" & ", " && "}, {" ", " "}, {" ", "\n& "}, {" or ", " || "}, {" | ", " OR "}, {" || ", " | "},
		}[r.IntN(7)]
		term := randomTerm(r, depth)
		list = spelling{list.ss + op.ss + term.ss, list.own + op.own + term.own}
	}
	return list
}

func randomTerm(r *rand.Rand, depth int) spelling {
	switch kind := r.IntN(6); {
	case kind == 0:
		t := randomTerm(r, depth)
		return spelling{[]string{"not ", "! "}[r.IntN(2)] + t.ss, []string{"not ", "!"}[r.IntN(2)] + t.own}
	case kind < 3 && depth > 0:
		list := randomList(r, depth-1)
		return spelling{"( " + list.ss + " )", "(" + list.own + ")"}
	}
	return ssLeaves[r.IntN(len(ssLeaves))]
}

// compareRandom compares random expressions in every spelling.
func (s *ssScene) compareRandom(r *ssReport, rng *rand.Rand, count int) error {
	for range count {
		if err := s.timeWaits(); err != nil {
			return err
		}
		e, head := randomList(rng, 3), ssHeads[rng.IntN(len(ssHeads))]
		list := spelling{strings.TrimSpace(head.ss + " " + e.ss), e.own}
		if head.own != "" {
			list.own = head.own + " (" + e.own + ")"
		}
		s.compareSpellings(r, list)
	}
	return nil
}

func (s *ssScene) compareSpellings(r *ssReport, e spelling) {
	want, err := ss(strings.Fields(e.ss)...)
	if err != nil {
		r.fail("%v", err)
		return
	}
	r.Rows += len(want)
	for _, text := range []string{e.ss, e.own} {
		r.Compared++
		if got, err := selected(text); err != nil || !slices.Equal(got, want) {
			r.fail("nettrace --filter %q, ss %s: %v: %s", text, e.ss, err, s.difference(want, got))
		}
	}
	f, err := filter.Parse(e.ss, filter.Options{})
	if err != nil {
		r.fail("%v", err)
		return
	}
	if got, err := ss(strings.Fields(f.String())...); err != nil || !slices.Equal(got, want) {
		r.fail("ss %s, in canonical form %s: %v: %s", e.ss, f, err, s.difference(want, got))
	}
}
