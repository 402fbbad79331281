package filter_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
)

// messages are expressions with an error: the word that the carets are under stands
// between « and ». They are bound for a view, or with -c before them for the stream.
var messages = []struct{ typed, what, hint string }{
	{"dport = 443 and «prot» = tcp", "no field or keyword 'prot'", "near: proto, proc, port"},
	{"«xyzzyx» = 1", "no field or keyword 'xyzzyx'", ""},
	{"«10.1.2.3»", "which end?", "`host 10.1.2.3` either end, `src 10.1.2.3` local, `dst 10.1.2.3` peer"},
	{"port 80 or «443»", "expected a condition, not a value", "`port in {80, 443}`"},
	{"«:443»", "expected a condition, not a value", "`port 443`"},
	{"dport = «70000»", "a port is 0 to 65535", ""},
	{"dport = «-1»", "a port is 0 to 65535", ""},
	{"sport «:80-»", "a range is A-B", ""},
	{"sport «90-80»", "a range is A-B, and A is not above B", ""},
	{"dport = «080»", "leading zero", "ss reads 080 as octal, no number; write 80"},
	{"dport = «:0120»", "leading zero", "ss reads 0120 as octal, 80; write 120"},
	{"dport = «htpp»", "no TCP or UDP service 'htpp'", "near: http"},
	{"sport = «10.0.0.1:80»", "sport takes a port alone", "`src 10.0.0.1:80`"},
	{"dport = «10.0.0.1»", "dport takes a port alone", "`dst 10.0.0.1`"},
	{"port = «::1»", "port takes a port alone", "`host ::1`"},
	{"sport > «*»", "no order with any port", ""},
	{"sport > «1-2»", "no order with a range", ""},
	{"dst 10.0.0.1«:443/24»", "the port comes after the length", "`10.0.0.1/24:443`"},
	{"dst «10.1.2.3/33»", "an IPv4 prefix length is 0 to 32", ""},
	{"dst «10/255.0.255.0»", "an IPv4 prefix length is 0 to 32", ""},
	{"dst «2001:db8::/129»", "an IPv6 prefix length is 0 to 128", ""},
	{"dst «2001:db8::x»", "'2001:db8::x' is no address", ""},
	{"dst «[2001:db8::/129]»", "an IPv6 prefix length is 0 to 128", ""},
	{"dst «[»2001:db8::/32", "'[' is not closed", ""},
	{"dst [::1]«/128»", "the length goes inside", "`[::1/128]`"},
	{"dst [::1]«x»", "expected a port after ']'", ""},
	{"dst «[]»", "expected an address between '[' and ']'", ""},
	{"dst «[10.0.0.1]»", "brackets are for IPv6 addresses", ""},
	{"dst «10.0.0.256»", "each part of an IPv4 address is 0 to 255", ""},
	{"dst «010.0.0.1»", "leading zero", "ss reads 010 as octal, 8; write 10"},
	{"dst «inet6:10.0.0.1»", "an IPv4 address is no inet6 address", ""},
	{"dst «inet:[::1]»", "an IPv6 address is no inet address", ""},
	{"src «link:eth0»", "no link sockets are shown", "families are inet, inet6 and unix"},
	{"dst «wbe»", "no host 'wbe'", "the hosts file and DNS were asked"},
	{"dst > 10.0.0.1", "no order among addresses", "= != in"},
	{"src «or» dst port 80", "expected an address after 'src'", "an end in two ways is `host A`, `port N`"},
	{"state «listn»", "no TCP state 'listn'", "near: listening"},
	{"old_state «etablished»", "no TCP state 'etablished'", "near: established"},
	{"dport = 1 state established «state» time-wait", "two states at once never hold", "`state in {established, time-wait}`"},
	{"dport = 1 «exclude» established", "'exclude' stands before all else", "elsewhere `state not in {A, B}`"},
	{"«(» dport = :443", "'(' is not closed", ""},
	{"dport = :443 «)»", "')' closes nothing", ""},
	{"dst 10.0.0.1«)»", "')' closes nothing", ""},
	{"dport in «{»1, 2", "'{' is not closed", ""},
	{"dport in {1 «2»}", "expected ',' or '}' before '2'", ""},
	{"dport = :443 and«»", "expected a condition after 'and'", ""},
	{"dport = :443 and «or» dport = :80", "expected a condition after 'and'", ""},
	{"dport = :443 and «)»", "')' closes nothing", ""},
	{"«or» dport = :443", "expected a condition before 'or'", ""},
	{"( «)»", "expected a condition before ')'", ""},
	{"not«»", "expected a condition after 'not'", ""},
	{"«dport»", "a value is missing after 'dport'", ""},
	{"dport = 1 and «comm» =", "a value is missing after 'comm'", ""},
	{"pid = «nginx»", "pid is a number", "by name `comm nginx`"},
	{"uid = «root»", "uid is a number", "by name `user root`"},
	{"comm = «gnome-terminal-server»", "comm has 15 bytes", "`program gnome-terminal-server`, or `comm ~ ^gnome-term`"},
	{"comm ~ «'ng(inx'»", "regular expression: missing ')'", ""},
	{"comm in «nginx»", "expected '{' after 'in'", "`comm in {A, B}`"},
	{"comm ~ a«,»b", "~ takes one value", ""},
	{"pid «~» 1", "pid takes no regular expression", "= != < <= > >= in"},
	{"-c duration > «200»", "a time needs a unit", "200ms, 200s"},
	{"-c duration > «200x»", "'200x' is no time", "units are ns us ms s m h, as in 1m30s"},
	{"-c bytes > «10x»", "'10x' is no size", "units are k M G Ki Mi Gi"},
	{"comm «>» nginx", "no order among names", "= != ~ in"},
	{
		"-c outcome = «refuse»", "no outcome 'refuse'",
		"it is one of unknown, closed, reset_local, reset_remote, refused, timeout_connect, unreachable, aborted_connect, handshake_dropped, timeout, destroyed, no_local_port, rejected; near: refused",
	},
	{"-c errno = «ECONREFUSED»", "no error 'ECONREFUSED'", "near: ECONNREFUSED"},
	{"«outcome» = refused", "'outcome' is known when a connection ends", "add -c"},
	{"dport = 1 and «failed»", "'failed' is known when a connection ends", "add -c"},
	{"«latency» > 1s", "'latency' is known in the stream alone", "add -c"},
	{"-c «cgroup» /web", "'cgroup' is not known in the stream", "leave -c out: it is known in the views"},
	{"-c src «unix:/run/x»", "the stream has no Unix sockets", "add -x, or leave -c out"},
	{"-cx dst «unix:/run/x»", "the stream does not know the name of a peer", "`src` is the socket's own; leave -c out for the peer's"},
	{"-c «change» = bind", "'change' is known of UDP, raw and Unix sockets", "add -u, -w or -x"},
	{"«reason» = exit", "'reason' is known when a connection ends", "add -c"},
	{"-cx «outcome» = refused", "'outcome' is known of TCP connections", "add -t"},
	{"-cx change = «binds»", "no change 'binds'", "it is one of open, bind, connect, disconnect, listen, accept, lost_peer, family, close, changed; near: bind"},
	{"container «>» web", "no order among names", "= != ~ in"},
	{"user «nobdy»", "no user 'nobdy' in /etc/passwd", "near: nobody"},
	{"dev «eth7»", "no interface 'eth7' in this network namespace", "near: eth0"},
	{"cgroup «/wbe»", "no cgroup '/wbe' below the cgroup2 mount", "near: /web"},
	{"-c netns «web2»", "no network namespace 'web2' in /run/netns", "near: web"},
	{"fwmark «x»", "'x' is no mark", "a mark is MARK or MARK/MASK, as in 0x10/0xff"},
	{"fwmark «0x100000000»", "a mark has 32 bits", ""},
	{"«sport:443»", "'sport:443' is no condition", "`sport 443`"},
	{"proc.comm==a«,»dport==1", "a comma is between values", "write `and`"},
	{"comm «'»abc", "' is not closed", ""},
	{"comm a«\\»", `nothing follows '\'`, `it takes the next character as it is: write \\ for one of its own`},
	{"has «pidd»", "no field 'pidd'", "near: pid"},
	{"«'dport'» = 1", "expected a condition, not a value", "a condition begins with the name of a field"},
}

func TestMessages(t *testing.T) {
	for _, tt := range messages {
		typed, run := tt.typed, inView
		if rest, ok := strings.CutPrefix(typed, "-c "); ok {
			typed, run = rest, inStream
		}
		if rest, ok := strings.CutPrefix(typed, "-cx "); ok {
			typed, run = rest, inSockets
		}
		text := strings.NewReplacer("«", "", "»", "").Replace(typed)
		err := errorOf(text, run)
		if err == nil {
			t.Errorf("%s: no error", text)
			continue
		}
		if err.What != tt.what || err.Hint != tt.hint {
			t.Errorf("%s: %q, %q, want %q, %q", text, err.What, err.Hint, tt.what, tt.hint)
		}
		if from, to := err.Span(); strings.Contains(typed, "«") {
			if marked := text[:from] + "«" + text[from:to] + "»" + text[to:]; marked != typed {
				t.Errorf("the carets are under %s, want %s", marked, typed)
			}
		}
	}
}

func errorOf(text string, run filter.Run) *filter.Error {
	f, err := filter.Parse(text, filter.Options{})
	if err == nil {
		_, err = f.Bind(fakeNames{}, run)
	}
	e, _ := err.(*filter.Error) //nolint:errorlint // it is never wrapped
	return e
}

// TestMessageLines looks at whole messages: the line, and the carets in columns.
func TestMessageLines(t *testing.T) {
	long := "dport in {" + strings.Repeat("1, ", 100) + "1} and prot = tcp or " + strings.Repeat("sport = 1 or ", 100) + "sport = 2"
	for _, tt := range []struct{ text, want string }{
		{"comm 日本 and prot = 1", "--filter: no field or keyword 'prot'\n  comm 日本 and prot = 1\n                ^^^^\nnear: proto, proc, port"},
		{"comm e\u0301 and prot = 1", "--filter: no field or keyword 'prot'\n  comm e\u0301 and prot = 1\n             ^^^^\nnear: proto, proc, port"},
		{"comm a\n\tand prot = 1\nand x", "--filter: no field or keyword 'prot'\n   and prot = 1\n       ^^^^\nnear: proto, proc, port"},
		{"dport = :443 and", "--filter: expected a condition after 'and'\n  dport = :443 and\n                  ^"},
		{long, "--filter: no field or keyword 'prot'\n  ..., 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1} and prot = tcp or sport = 1 or sport = 1 or spor\n" + strings.Repeat(" ", 65) + "^^^^\nnear: proto, proc, port"},
	} {
		err := errorOf(tt.text, inView)
		if err == nil {
			t.Errorf("%s: no error", tt.text)
			continue
		}
		if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
			t.Errorf("%.40s: %s", tt.text, diff)
		}
	}
}

// TestOperands checks what is said of an expression that was not quoted.
func TestOperands(t *testing.T) {
	_, err := filter.Parse("dport", filter.Options{Operands: []string{"=", ":443"}})
	want := "--filter: a value is missing after 'dport'\n  dport\n  ^^^^^\nthe expression must be one argument: quote it"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	_, err = filter.Parse("x", filter.Options{Option: "--pid"})
	if err == nil || !strings.HasPrefix(err.Error(), "--pid: no field") {
		t.Errorf("%v", err)
	}
}

// TestRuns checks which fields are known in which runs, beyond the messages above.
func TestRuns(t *testing.T) {
	for _, tt := range []struct {
		text string
		run  filter.Run
		want string
	}{
		{"fwmark 1", filter.Run{In: field.View}, "the kernel tells marks to CAP_NET_ADMIN only"},
		{"dev lo", filter.Run{In: field.Stream, AllNetns: true}, "leave --all-netns out"},
		{"pid 1", filter.Run{In: field.Poll}, "it needs the privilege for BPF: see nettrace --doctor"},
	} {
		if err := errorOf(tt.text, tt.run); err == nil || err.Hint != tt.want {
			t.Errorf("%s: %v, want %q", tt.text, err, tt.want)
		}
	}
	for _, text := range []string{"dport = 1 and src 10/8", "state established", "uid 0", "inode 7"} {
		if err := errorOf(text, filter.Run{In: field.Poll}); err != nil {
			t.Errorf("%s where /proc is polled: %v", text, err)
		}
	}
}

// TestNotes checks what a reader is told of a correct expression.
func TestNotes(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"sport = 1 or sport = 2 and dst 10.0.0.1", []string{"read from left to right as ss does: ( sport = :1 or sport = :2 ) and dst 10.0.0.1"}},
		{"sport = 1 or sport = 2 dst 10.0.0.1", []string{"read from left to right as ss does: ( sport = :1 or sport = :2 ) and dst 10.0.0.1"}},
		{"( sport = 1 or sport = 2 ) and dst 10.0.0.1", nil},
		{"sport = 1 and sport = 2 or dst 10.0.0.1", nil},
		{"dst 10", []string{"10 is the host 10.0.0.0 as in ss; a network is 10/8 or `net 10`"}},
		{"net 10", nil},
		{"dst 10/8", nil},
		{"dst ::1:8080", []string{"::1:8080 is port 8080 of ::1 as in ss; the address is [::1:8080]"}},
		{"dst 2001:db8::1", nil},
	} {
		f, err := filter.Parse(tt.text, filter.Options{})
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if diff := cmp.Diff(tt.want, f.Notes, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", tt.text, diff)
		}
	}
}
