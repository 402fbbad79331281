package main

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testEnv gives an environment whose streams are buffers.
func testEnv(argv0 string) (e *env, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return &env{
		argv0:     argv0,
		stdout:    newStdout(out, false),
		stderr:    errs,
		lookupEnv: func(string) (string, bool) { return "", false },
		selinux:   func() bool { return false },
	}, out, errs
}

func TestParse(t *testing.T) {
	numeric := options{numericHosts: true, numericPorts: true, numericUsers: true}
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
			o.tcp, o.udp, o.listening, o.programs, o.extend = true, true, true, true, 1
		})},
		{"one dash is a bundle, not a long option", []string{"-tcp"}, options{tcp: true, continuous: true, programs: true}},
		{"counted", []string{"-ee", "--extend", "-rr"}, options{extend: 3, route: 2}},
		{"operands between options", []string{"eth2", "-n", "5", "-", "-t"}, with(numeric, func(o *options) { o.tcp = true })},
		{"double dash", []string{"-t", "--", "-u"}, options{tcp: true}},
		{"abbreviations", []string{"--prog", "--ine", "--numeric-h", "--tcp"}, options{programs: true, families: []string{"inet"}, numericHosts: true, tcp: true}},
		{
			"families in order",
			[]string{"-6", "-Aunix,ip", "-A", "tcpip", "--protocol=ip6", "--inet", "-x4"},
			options{families: []string{"inet6", "unix", "inet", "inet", "inet6", "inet", "unix", "inet"}},
		},
		{"value is the next word whatever it is", []string{"-cA", "inet", "-t"}, options{continuous: true, families: []string{"inet"}, tcp: true}},
		{
			"own options",
			[]string{"-j", "--count", "3", "--duration=2s", "--ring-size", "16M", "--netns", "-x", "--hooks=a,b"},
			options{json: true, count: 3, duration: 2 * time.Second, ringSize: 16 << 20, netns: "-x", hooks: []string{"a", "b"}},
		},
		{"own options abbreviated", []string{"--js", "--all-n"}, options{json: true, allNetns: true}},
		{"prefix of an own option that netstat has too", []string{"--d", "--inter"}, options{families: []string{"ddp"}, interfaces: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _, _ := testEnv("nettrace")
			got, err := parse(e, append([]string{"nettrace"}, tt.args...))
			if err != nil {
				t.Fatal(err)
			}
			tt.want.procRoot = "/proc"
			if diff := cmp.Diff(&tt.want, got, cmp.AllowUnexported(options{})); diff != "" {
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
		{[]string{"--all-netns", "-rn"}, usage, "./nettrace: option '--all-netns' needs -c and TCP sockets; --netns shows the views of one namespace\n"},
		{[]string{"--count", "0"}, usage, "./nettrace: option '--count' needs a value above zero\n"},
		{[]string{"--ring-size=1T"}, usage, "./nettrace: option '--ring-size' needs a size from 1 to 2047M, such as 16M, not '1T'\n"},
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

// TestTexts checks that -h and -V act where they stand: what is right of them
// is not read.
func TestTexts(t *testing.T) {
	for _, args := range [][]string{{"-h", "-y"}, {"--he"}, {"-nV", "--foo"}, {"--vers"}, {"--man"}, {"--completion=bash"}, {"--completion=zsh"}, {"--completion=fish"}} {
		e, stdout, stderr := testEnv("nettrace")
		if got := run(e, append([]string{"nettrace"}, args...)); got != statusOK || stdout.Len() == 0 || stderr.Len() != 0 {
			t.Errorf("%q: status %d, stdout %d bytes, stderr %q", args, got, stdout.Len(), stderr)
		}
	}
}

func TestPosixlyCorrect(t *testing.T) {
	e, _, _ := testEnv("nettrace")
	e.lookupEnv = func(name string) (string, bool) { return "", name == "POSIXLY_CORRECT" }
	o, err := parse(e, []string{"nettrace", "-t", "x", "-u"})
	if err != nil || !o.tcp || o.udp {
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
	if len(o.families) != 51 || o.inFamily(familyInet6) || stderr.String() != errFamilyList.Error()+"\n" {
		t.Errorf("%d families, stderr %q", len(o.families), stderr)
	}
}

func TestSelectSockets(t *testing.T) {
	all := selection{
		header: true, tcp: true, sctp: true, udp: true, udplite: true, raw: true,
		unix: true, ipx: true, ax25: true, x25: true, netrom: true, rose: true, v4: true, v6: true,
	}
	inet := selection{explicit: true, implied: true, header: true, tcp: true, sctp: true, udp: true, udplite: true, raw: true}
	with := func(s selection, change func(*selection)) selection {
		change(&s)
		return s
	}
	tests := []struct {
		args string
		want selection
	}{
		{"-a", all},
		{"--ddp", all},
		{"-Aash", all},
		{"-4", with(inet, func(s *selection) { s.v4 = true })},
		{"-46", with(inet, func(s *selection) { s.v4, s.v6 = true, true })},
		{"-4x", with(inet, func(s *selection) { s.v4, s.unix = true, true })},
		{"-t6", selection{explicit: true, header: true, tcp: true, v6: true}},
		{"-tx", selection{explicit: true, header: true, tcp: true, unix: true, v4: true, v6: true}},
		{"-g", selection{explicit: true, groups: true, v4: true, v6: true}},
		{"-g4", with(inet, func(s *selection) { s.v4, s.groups = true, true })},
		{"-2", selection{explicit: true, bluetooth: true}},
	}
	for _, tt := range tests {
		e, _, _ := testEnv("nettrace")
		o, err := parse(e, []string{"nettrace", tt.args})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, o.selectSockets(), cmp.AllowUnexported(selection{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.args, diff)
		}
	}
}

// FuzzParse feeds any command line: it must end in options, a text or an
// error with a status, never in a panic.
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
