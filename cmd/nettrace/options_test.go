package main

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/metrics"
	"github.com/nettrace/nettrace/internal/netstat"
	"github.com/nettrace/nettrace/internal/stdio"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/internal/view"
	"github.com/nettrace/nettrace/tracer"
)

// testEnv returns an environment whose streams are buffers.
func testEnv(argv0 string) (e *env, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return &env{
		argv0:     argv0,
		stdout:    stdio.NewOut(out, false),
		stderr:    errs,
		unread:    func() error { return nil },
		lookupEnv: func(string) (string, bool) { return "", false },
		selinux:   func() bool { return false },
	}, out, errs
}

// viewing returns options that say something of a view alone.
func viewing(v view.Options) options { return options{Options: v} }

func TestParse(t *testing.T) {
	numeric := viewing(view.Options{NumericHosts: true, NumericPorts: true, NumericUsers: true})
	with := func(o options, change func(*options)) options {
		change(&o)
		return o
	}
	tests := []struct {
		name string
		args []string
		want options
	}{
		{"none", nil, options{}},
		{"bundle", []string{"-tulpen"}, with(numeric, func(o *options) {
			o.TCP, o.UDP, o.Listening, o.Programs, o.Extend = true, true, true, true, 1
		})},
		{"one dash is a bundle, not a long option", []string{"-tcp"}, viewing(view.Options{Protocols: view.Protocols{TCP: true}, Continuous: true, Programs: true})},
		{"counted", []string{"-ee", "--extend", "-rr"}, options{Options: view.Options{Extend: 3}, views: netstat.Views{Route: 2}}},
		{"operands between options", []string{"eth2", "-n", "5", "-", "-t"}, with(numeric, func(o *options) { o.TCP = true })},
		{"double dash", []string{"-t", "--", "-u"}, viewing(view.Options{Protocols: view.Protocols{TCP: true}})},
		{"abbreviations", []string{"--prog", "--ine", "--numeric-h", "--tcp"}, viewing(view.Options{Programs: true, Families: []string{"inet"}, NumericHosts: true, Protocols: view.Protocols{TCP: true}})},
		{
			"families in order",
			[]string{"-6", "-Aunix,ip", "-A", "tcpip", "--protocol=ip6", "--inet", "-x4"},
			viewing(view.Options{Families: []string{"inet6", "unix", "inet", "inet", "inet6", "inet", "unix", "inet"}}),
		},
		{"value is the next word whatever it is", []string{"-cA", "inet", "-t"}, viewing(view.Options{Continuous: true, Families: []string{"inet"}, Protocols: view.Protocols{TCP: true}})},
		{
			"own options",
			[]string{"-j", "--count", "3", "--duration=2s", "--ring-size", "16M", "--netns", "-x", "--hooks=a,b"},
			options{
				Options: view.Options{JSON: true, Rounds: 3, Duration: 2 * time.Second}, netns: "-x",
				stream: stream.Options{Trace: tracer.Options{RingBytes: 16 << 20, Hooks: []string{"a", "b"}}},
			},
		},
		{"own options abbreviated", []string{"--js", "--all-n"}, options{
			Options: view.Options{JSON: true}, stream: stream.Options{Trace: tracer.Options{AllNetns: true}},
		}},
		{"metrics", []string{"--metrics", ":9100"}, options{metrics: metrics.Place{Network: "tcp", Address: "127.0.0.1:9100"}}},
		{"masquerade, not metrics", []string{"--m"}, options{views: netstat.Views{Masquerade: 1}}},
		{"color", []string{"--color", "never"}, options{color: "never"}},
		{"prefix of an own option that netstat has too", []string{"--d", "--inter"}, options{Options: view.Options{Families: []string{"ddp"}}, views: netstat.Views{Interfaces: 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _, _ := testEnv("nettrace")
			got, err := parse(e, append([]string{"nettrace"}, tt.args...))
			if err != nil {
				t.Fatal(err)
			}
			tt.want.procRoot = "/proc"
			if diff := cmp.Diff(&tt.want, got, cmp.AllowUnexported(options{}, filterOptions{}, selection{}, tracer.Options{}, metrics.Place{})); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	const usage = statusUsage
	tests := []struct {
		args   []string
		status status
		stderr string // without the usage text
	}{
		{[]string{"-c5"}, usage, "./nettrace: invalid option -- '5'\n"},
		{[]string{"-T"}, usage, "./nettrace: invalid option -- 'T'\n"},
		{[]string{"-a-"}, usage, "./nettrace: invalid option -- '-'\n"},
		{[]string{"-:"}, usage, "./nettrace: invalid option -- ':'\n"},
		{[]string{"-?"}, usage, ""},
		{[]string{"-ri"}, usage, ""},
		{[]string{"-ss"}, usage, ""},
		{[]string{"--foo=bar"}, usage, "./nettrace: unrecognized option '--foo=bar'\n"},
		{[]string{"--u=1"}, usage, "./nettrace: option '--u=1' is ambiguous; possibilities: '--unix' '--udp' '--udplite' '--unix'\n"},
		{[]string{"--in"}, usage, "./nettrace: option '--in' is ambiguous; possibilities: '--inet' '--interfaces'\n"},
		{[]string{"--co"}, usage, "./nettrace: option '--co' is ambiguous; possibilities: '--continuous' '--context'\n"},
		{[]string{"--numeric=1"}, usage, "./nettrace: option '--numeric' doesn't allow an argument\n"},
		{[]string{"-nA"}, usage, "./nettrace: option requires an argument -- 'A'\n"},
		{[]string{"--prot"}, usage, "./nettrace: option '--protocol' requires an argument\n"},
		{[]string{"--all-netns", "-rn"}, usage, "./nettrace: option '--all-netns' needs -c and TCP, UDP, raw or Unix sockets; --netns shows the views of one namespace\n"},
		{[]string{"--count", "0"}, usage, "./nettrace: option '--count' needs a value above zero\n"},
		{[]string{"--color=red"}, usage, "./nettrace: option '--color' takes auto, always or never, not 'red'\n"},
		{[]string{"--ring-size=1T"}, usage, "./nettrace: option '--ring-size' needs a size from 1 to 1G, such as 16M, not '1T'\n"},
		{[]string{"--ring-size=1025M"}, usage, "./nettrace: option '--ring-size' needs a size from 1 to 1G, such as 16M, not '1025M'\n"},
		{[]string{"-A", "inet,foo", "-h"}, statusFailed, "Unknown address family `foo'.\n"},
		{[]string{"-A", ""}, statusFailed, "Unknown address family `'.\n"},
		{[]string{"-Z", "-y"}, statusFailed, "SELinux is not enabled on this machine.\n"},
		{[]string{"--tcpip", "-y"}, usage, "netstat.c: Internal Error `longopts 1 range'.\n./nettrace: invalid option -- 'y'\n"},
	}
	for _, tt := range tests {
		e, stdout, stderr := testEnv("./nettrace")
		got := run(e, append([]string{"./nettrace"}, tt.args...))
		want := tt.stderr
		if tt.status == usage {
			want += usageText
		}
		if got != tt.status || stdout.Len() != 0 || stderr.String() != want {
			t.Errorf("%q: status %d, stdout %q, stderr (-want +got):\n%s", tt.args, got, stdout, cmp.Diff(want, stderr.String()))
		}
	}
}

// TestTexts checks that -h and -V act at once: words to the right of them are not
// read.
func TestTexts(t *testing.T) {
	for _, args := range [][]string{{"-h", "-y"}, {"--he"}, {"-nV", "--foo"}, {"--vers"}, {"--man"}, {"--completion=bash"}, {"--completion=zsh"}, {"--completion=fish"}} {
		e, stdout, stderr := testEnv("nettrace")
		if got := run(e, append([]string{"nettrace"}, args...)); got != statusOK || stdout.Len() == 0 || stderr.Len() != 0 {
			t.Errorf("%q: status %d, stdout %d bytes, stderr %q", args, got, stdout.Len(), stderr)
		}
		if i := bytes.IndexFunc(stdout.Bytes(), func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
			t.Errorf("%q: not ASCII, as in the C locale, at byte %d", args, i)
		}
	}
}

func TestPosixlyCorrect(t *testing.T) {
	e, _, _ := testEnv("nettrace")
	e.lookupEnv = func(name string) (string, bool) { return "", name == "POSIXLY_CORRECT" }
	o, err := parse(e, []string{"nettrace", "-t", "x", "-u"})
	if err != nil || !o.TCP || o.UDP {
		t.Errorf("parse = %+v, %v; want the first operand to end the options", o, err)
	}
}

func TestFamilyListOverflow(t *testing.T) {
	e, _, stderr := testEnv("nettrace")
	long := "inet"
	for range 50 {
		long += ",inet"
	}
	o, err := parse(e, []string{"nettrace", "-A", long, "-6"})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Families) != 51 || slices.Contains(o.Families, view.FamilyInet6) || stderr.String() != view.ErrFamilyList.Error()+"\n" {
		t.Errorf("%d families, stderr %q", len(o.Families), stderr)
	}
}

func TestSelectSockets(t *testing.T) {
	every := view.Protocols{TCP: true, UDP: true, UDPLite: true, SCTP: true, Raw: true}
	all := view.Selection{
		Protocols: every,
		Unix:      true, IPX: true, AX25: true, X25: true, NetROM: true, ROSE: true, IPv4: true, IPv6: true,
	}
	inet := view.Selection{Explicit: true, Implied: true, Protocols: every}
	with := func(s view.Selection, change func(*view.Selection)) view.Selection {
		change(&s)
		return s
	}
	tests := []struct {
		args string
		want view.Selection
	}{
		{"-a", all},
		{"--ddp", all},
		{"-Aash", all},
		{"-4", with(inet, func(s *view.Selection) { s.IPv4 = true })},
		{"-46", with(inet, func(s *view.Selection) { s.IPv4, s.IPv6 = true, true })},
		{"-4x", with(inet, func(s *view.Selection) { s.IPv4, s.Unix = true, true })},
		{"-t6", view.Selection{Explicit: true, Protocols: view.Protocols{TCP: true}, IPv6: true}},
		{"-tx", view.Selection{Explicit: true, Protocols: view.Protocols{TCP: true}, Unix: true, IPv4: true, IPv6: true}},
		{"-g", view.Selection{Explicit: true, Groups: true, IPv4: true, IPv6: true}},
		{"-g4", with(inet, func(s *view.Selection) { s.IPv4, s.Groups = true, true })},
		{"-2", view.Selection{Explicit: true, Bluetooth: true}},
	}
	for _, tt := range tests {
		e, _, _ := testEnv("nettrace")
		o, err := parse(e, []string{"nettrace", tt.args})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, o.Select()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.args, diff)
		}
	}
}

// TestStreamed checks whose sockets -c streams: those that are named, else TCP's.
func TestStreamed(t *testing.T) {
	for args, want := range map[string]tracer.Protocols{
		"-c":           tracer.TCP,
		"-ac":          tracer.TCP,
		"-c4":          tracer.TCP,
		"-cAinet6":     tracer.TCP,
		"-ct":          tracer.TCP,
		"-cu":          tracer.UDP,
		"-cu6":         tracer.UDP,
		"-ctuUw":       tracer.TCP | tracer.UDP | tracer.UDPLite | tracer.Raw,
		"-cx":          tracer.Unix,
		"-cux":         tracer.UDP | tracer.Unix,
		"-c4x":         tracer.TCP | tracer.Unix,
		"-cAinet,unix": tracer.TCP | tracer.Unix,
		"-cS":          0,
		"-cg":          0,
		"-c2":          0,
		"-u":           0,
		"-cr":          0,
		"-cAipx":       0,
	} {
		e, _, _ := testEnv("nettrace")
		o, err := parse(e, []string{"nettrace", args})
		if err != nil {
			t.Fatal(err)
		}
		if got := o.streamed(); got != want {
			t.Errorf("%s: %b, want %b", args, got, want)
		}
	}
}

// FuzzParse parses any command line. The result must be options, a text, or an error
// with a status.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"-tulpen", "--num", "--count=-1", "-A inet,foo", "-- -a", "--ring-size=99999999999999999999G", "-\xff", "--=", "---"} {
		f.Add(seed, "-h")
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		e, _, _ := testEnv("nettrace")
		e.stderr = io.Discard
		o, err := parse(e, []string{"nettrace", one, two})
		if o != nil && err != nil {
			t.Errorf("both options and the error %v", err)
		}
		report(e, err)
	})
}

// TestLeftOut checks what of the command line is said not to be streamed: what
// was named, not what shows because nothing was.
func TestLeftOut(t *testing.T) {
	for args, want := range map[string][]string{
		"-c":               nil,
		"-ctap":            nil,
		"-c4":              nil,
		"-ctu":             nil,
		"-cuwSUg":          {"SCTP sockets", "multicast groups"},
		"-cx":              nil,
		"-cAinet,unix,ipx": {"IPX sockets"},
		"-ct2":             {"Bluetooth sockets"},
	} {
		e, _, _ := testEnv("nettrace")
		o, err := parse(e, []string{"nettrace", args})
		if err != nil {
			t.Fatal(err)
		}
		opts, err := o.streamOptions()
		if err != nil || !o.streams() {
			t.Errorf("%s: streams %v, %v", args, o.streams(), err)
		}
		if diff := cmp.Diff(want, opts.LeftOut); diff != "" {
			t.Errorf("%s (-want +got):\n%s", args, diff)
		}
	}
}
