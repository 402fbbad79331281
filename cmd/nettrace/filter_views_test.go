package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/filter/source"
)

// unixExpressions are those that ss and nettrace read alike with -x.
var unixExpressions = []string{
	"src /run/u/*", "src unix:/run/u/*", "src *app*", "src unix:/RUN/U/app.SOCK", "src App.sock", "src @*",
	`src /run/u/with\ space`, "src unix:", "autobound", "not src @*", "src *[0-9a-f]", "src */[!a]pp.sock", "src @abs-nam?",
	"state listening", "state established src /run/u/*", "src /run/u/* or src @*",
}

// makeUnixSockets makes a listener, an accepted socket, datagram sockets with a space in
// the name, with abstract names, one of them the kernel's choice, and unnamed ones.
func (s *ssScene) makeUnixSockets() error {
	dir := "/run/u"
	if err := errors.Join(unix.Mount("none", "/run", "tmpfs", 0, ""), os.Mkdir(dir, 0o755)); err != nil {
		return err
	}
	open := func(kind int, name *string) int {
		fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		s.check("socket", err)
		s.fds = append(s.fds, fd)
		if name != nil {
			s.check("bind "+*name, unix.Bind(fd, &unix.SockaddrUnix{Name: *name}))
		}
		return fd
	}
	path := func(name string) *string {
		whole := filepath.Join(dir, name)
		return &whole
	}
	listener := open(unix.SOCK_STREAM, path("App.sock"))
	s.check("listen", unix.Listen(listener, 4))
	client := open(unix.SOCK_STREAM, nil)
	s.check("connect", unix.Connect(client, &unix.SockaddrUnix{Name: *path("App.sock")}))
	accepted, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	s.check("accept", err)
	s.fds = append(s.fds, accepted)
	s.check("listen", unix.Listen(open(unix.SOCK_SEQPACKET, path("seq")), 4))
	open(unix.SOCK_DGRAM, path("with space"))
	abstract := "@abs-name"
	open(unix.SOCK_DGRAM, &abstract)
	none := ""
	open(unix.SOCK_DGRAM, &none) // the kernel chooses a name
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	s.check("socketpair", err)
	s.fds = append(s.fds, pair[:]...)
	return s.err
}

// compareUnix compares what ss and nettrace select among Unix sockets, by inode, in text
// and in records.
func (s *ssScene) compareUnix(r *ssReport) error {
	if err := s.makeUnixSockets(); err != nil {
		return err
	}
	for _, expression := range unixExpressions {
		r.Compared++
		words := strings.Fields(expression)
		if name, ok := strings.CutPrefix(expression, "src /run/u/with"); ok {
			words = []string{"src /run/u/with" + name} // one argument of several words
		}
		out, err := exec.Command("ss", append([]string{"-Hxa"}, words...)...).Output()
		if err != nil {
			return fmt.Errorf("ss -xa %q: %w", words, err)
		}
		var want []string
		for line := range strings.Lines(string(out)) {
			columns := strings.Fields(line)
			want = append(want, columns[len(columns)-3])
		}
		slices.Sort(want)
		r.Rows += len(want)
		for _, form := range []string{"-xan", "-xanj"} {
			if got, err := unixInodes(form, expression); err != nil || !slices.Equal(got, want) {
				r.fail("nettrace %s --filter %q: %v: %q, ss has %q", form, expression, err, got, want)
			}
		}
	}
	for expression, want := range map[string]int{ // ss knows no names of peers
		"dst unix:/run/u/App.sock": 1, // the client
		"dst /run/u/seq":           0,
		"dst unix:":                3, // the accepted socket, and both of the pair
		"host unix:*app*":          3,
		"dst unix:*":               4,
	} {
		r.Compared++
		for _, form := range []string{"-xan", "-xanj"} {
			if got, err := unixInodes(form, expression); err != nil || len(got) != want {
				r.fail("nettrace %s --filter %q: %v: %q, want %d", form, expression, err, got, want)
			}
		}
	}
	return nil
}

// unixInodes returns the inodes of the Unix sockets that nettrace lists.
func unixInodes(form, expression string) ([]string, error) {
	e, out, errs := testEnv("nettrace")
	if st := run(e, []string{"nettrace", form, "--filter", expression}); st != statusOK {
		return nil, fmt.Errorf("status %d: %s", st, errs)
	}
	var inodes []string
	for line := range bytes.Lines(out.Bytes()) {
		var row struct{ Inode json.Number }
		if err := json.Unmarshal(line, &row); err == nil {
			inodes = append(inodes, row.Inode.String())
			continue
		}
		// unix  2      [ ACC ]     STREAM     LISTENING     12345    /run/u/App.sock
		text := string(line)
		if _, after, ok := strings.Cut(text, "]"); ok && strings.HasPrefix(text, "unix") {
			for _, column := range strings.Fields(after) {
				if strings.Trim(column, "0123456789") == "" {
					inodes = append(inodes, column)
					break
				}
			}
		}
	}
	slices.Sort(inodes)
	return inodes, nil
}

// textExpressions are selected from every row's own columns and from what is joined.
var textExpressions = []string{
	"port 443", "state established", "src 10/8", "pid %d", "comm ~ .", "program != x", "has pid", "uid 0", "recv_q > 0", "send_q > 1k",
	"iface lo", "iface eth9", "dev lo", "cgroup /ntflt/*", "cgroup ~ nt", "autobound", "transport = udp", "exe ~ test",
	"has cgroup", "user root", "fwmark 0x10/0xf0", "src [fe80::1%eth9]", "src fe80::1%eth9", "not src [fe80::1%lo]",
}

// compareText checks that E and not E share the rows of a view between them.
func (s *ssScene) compareText(r *ssReport) error {
	for _, flags := range []string{"-tuanpe", "-tuanp", "-an"} {
		for _, expression := range textExpressions {
			expression = strings.ReplaceAll(expression, "%d", fmt.Sprint(os.Getpid()))
			if err := s.timeWaits(); err != nil {
				return err
			}
			r.Compared++
			if err := s.compareHalves(r, flags, expression); err != nil {
				r.fail("%s %s: %v", flags, expression, err)
			}
		}
	}
	return nil
}

// compareHalves tries again where a queue of the scene has changed meanwhile.
func (s *ssScene) compareHalves(r *ssReport, flags, expression string) error {
	var all, some, rest []string
	for range attempts {
		var err, err2, err3 error
		all, err = textRows(flags, "")
		some, err2 = textRows(flags, expression)
		rest, err3 = textRows(flags, "not ( "+expression+" )")
		if err := errors.Join(err, err2, err3); err != nil {
			return err
		}
		if len(some) > 0 && shares(all, some, rest) {
			r.Rows += len(some)
			return nil
		}
	}
	return fmt.Errorf("%d rows, %d others, %d in all", len(some), len(rest), len(all))
}

// shares reports whether each row of all is the next one of exactly one of two lists.
func shares(all, some, rest []string) bool {
	for _, row := range all {
		switch {
		case len(some) > 0 && some[0] == row:
			some = some[1:]
		case len(rest) > 0 && rest[0] == row:
			rest = rest[1:]
		default:
			return false
		}
	}
	return len(some)+len(rest) == 0
}

// textRows returns the rows of a view of Internet sockets.
func textRows(flags, expression string) ([]string, error) {
	e, out, errs := testEnv("nettrace")
	args := []string{"nettrace", flags}
	if expression != "" {
		args = append(args, "--filter", expression)
	}
	if st := run(e, args); st != statusOK || strings.Contains(errs.String(), "nettrace") {
		return nil, fmt.Errorf("status %d: %s", st, errs)
	}
	var rows []string
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "tcp") || strings.HasPrefix(line, "udp") || strings.HasPrefix(line, "unix") {
			rows = append(rows, line)
		}
	}
	return rows, nil
}

// TestFilterRefused checks what is printed of a filter that cannot be followed: three or
// four lines on stderr, nothing on stdout, status 3, and nothing is started.
func TestFilterRefused(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{
			[]string{"-tan", "--filter", "prot = tcp"},
			"nettrace: --filter: no field or keyword 'prot'\n  prot = tcp\n  ^^^^\nnear: proto, proc, port\n",
		},
		{
			[]string{"-tan", "--filter", "dport", "=", ":443"},
			"nettrace: --filter: a value is missing after 'dport'\n  dport\n  ^^^^^\nthe expression must be one argument: quote it\n",
		},
		{
			[]string{"-tan", "--filter", "uid 0", "or", "uid", "1"},
			"nettrace: --filter: words follow the expression: or uid 1\nthe expression must be one argument: quote it\n",
		},
		{
			[]string{"-tan", "--failed"},
			"nettrace: --failed: 'failed' is known when a connection ends\n  failed\n  ^^^^^^\nadd -c\n",
		},
		{
			[]string{"-tan", "--filter", "uid 0", "--pid", "nginx"},
			"nettrace: --pid: pid is a number\n  pid nginx\n      ^^^^^\nby name `comm nginx`\n",
		},
		{
			[]string{"-c", "--filter", "cgroup /x"},
			"nettrace: --filter: 'cgroup' is not known in the stream\n  cgroup /x\n  ^^^^^^\nleave -c out: it is known in the views\n",
		},
		{
			[]string{"-c", "--filter", "dev no-such-one"},
			"nettrace: --filter: no interface 'no-such-one' in this network namespace\n  dev no-such-one\n      ^^^^^^^^^^^\n",
		},
		{[]string{"-r", "--filter", "uid 0"}, "nettrace: --filter: it selects sockets\nleave -r, -i, -s, -M and --doctor out\n"},
		{[]string{"-ag", "--filter", "uid 0"}, "nettrace: --filter selects among Internet and Unix sockets, not multicast groups\n"},
	} {
		e, out, errs := testEnv("nettrace")
		if st := run(e, append([]string{"nettrace"}, tt.args...)); st != statusUsage || out.Len() > 0 || errs.String() != tt.want {
			t.Errorf("%q: status %d, stdout %q, stderr:\n%swant:\n%s", tt.args, st, out, errs, tt.want)
		}
	}
}

// TestFilterExplained checks --explain-filter, and the notes.
func TestFilterExplained(t *testing.T) {
	for _, tt := range []struct {
		args         []string
		want, stderr string
	}{
		{
			[]string{"-c", "--filter", "dport 443 or dport 80 and not uid 0", "--port", "8080,443"},
			"filter      ( dport = :443 or dport = :80 ) and not uid = 0 and port in { :8080, :443 }\n" +
				"in kernel   ( dport = :443 and sport in { :8080, :443 } ) or ( dport = :443 and dport in { :8080, :443 } ) or ( dport = :80 and sport in { :8080, :443 } ) or ( dport = :80 and dport in { :8080, :443 } )\n" +
				"in program  all of it, on each record\nread        events have all of it\n",
			"note: read from left to right as ss does: ( dport = :443 or dport = :80 ) and not uid = 0\n",
		},
		{
			[]string{"-tan", "--state", "listen,ESTAB", "--user", "root"},
			"filter      user = root and state in { established, listening }\n" +
				"in kernel   nothing: rows are read as a whole\nin program  all of it, on each record\nread        rows have all of it\n" +
				"shown       sockets in all states that the filter selects, whatever -a and -l say\nlooked up   root = 0\n",
			"",
		},
	} {
		e, out, errs := testEnv("nettrace")
		st := run(e, append([]string{"nettrace", "--explain-filter"}, tt.args...))
		if st != statusOK || out.String() != tt.want || errs.String() != tt.stderr {
			t.Errorf("%q: status %d, %s\n%swant:\n%s", tt.args, st, errs, out, tt.want)
		}
	}
}

// TestFilterDocs reads every expression in docs/filter.md as the command line of its
// example does.
func TestFilterDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/filter.md")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for line := range strings.Lines(string(text)) {
		command, _, _ := strings.Cut(line, " # ")
		before, quoted, ok := strings.Cut(command, "--filter '")
		expression, _, closed := strings.Cut(quoted, "'")
		if !ok || !closed {
			continue
		}
		read++
		o := &options{filter: filterOptions{Source: source.Source{Expressions: []string{expression}}}}
		o.Continuous = strings.Contains(before, " -c ")
		f, err := o.filter.Parse(nil, false)
		if err == nil {
			err = f.Check(o.filterRun(o.Continuous))
		}
		if err != nil {
			t.Errorf("%s%v", line, err)
		}
	}
	if read < 8 {
		t.Errorf("%d examples", read)
	}
}
