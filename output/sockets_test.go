package output

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/snapshot"
)

func TestSocketText(t *testing.T) {
	row := snapshot.Socket{
		Head: snapshot.Head{
			Local: netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:54321"), Remote: netip.MustParseAddrPort("[::ffff:10.0.0.1]:0"),
			State: snapshot.CloseWait, RecvQ: 12, SendQ: 1234567, UID: 4294967294, Inode: 77,
		}, Timer: 2, Expires: 719726, Retrans: 1, Timeout: 2,
	}
	tests := []struct {
		name string
		text SocketText
		want string
	}{
		{"plain", SocketText{}, "tcp6      12 1234567 2001:db8:ffff:fff:54321 10.0.0.1:*              CLOSE_WAIT \n"},
		{"wide", SocketText{Wide: true}, "tcp6      12 1234567 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff:54321 10.0.0.1:*              CLOSE_WAIT \n"},
		{
			"all columns",
			SocketText{Extend: true, Programs: true, Context: true, Timers: true},
			"tcp6      12 1234567 2001:db8:ffff:fff:54321 10.0.0.1:*              CLOSE_WAIT  -2         77         -                    -                                                  keepalive (7197.26/1/2)\n",
		},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, string(tt.text.AppendSocket(nil, &row))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestAppendProgram(t *testing.T) {
	for cmdline, want := range map[string]string{
		"/a/b/averyveryverylongname\x00x": "17821/averyveryvery", "./rel/path/prog": "17821/./rel/path/pr",
		"nginx: master process /x/nginx": "17821/nginx: master", "/title x/with -flag /q/foo.conf": "17821/foo.conf",
		"/x/": "17821/", "/": "17821/", "": "17821/", "\x00abc": "17821/", "a\n\x1b[1m": "17821/a\n\x1b[1m",
	} {
		p := &snapshot.Process{PID: 17821, Cmdline: cmdline}
		if got := string(appendProgram(nil, p)); got != want {
			t.Errorf("%q: %q, want %q", cmdline, got, want)
		}
	}
}

func TestUnixText(t *testing.T) {
	u := snapshot.UnixSocket{RefCount: 2, Flags: snapshot.UnixAccepting, Type: 1, State: 1, Inode: 17, HasInode: true, Path: "/run/x"}
	const want = "unix  2      [ ACC ]     STREAM     LISTENING     17       /run/x\n"
	if diff := cmp.Diff(want, string((&SocketText{}).AppendUnix(nil, &u))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// BenchmarkAppendSocket measures a row. It must not allocate.
func BenchmarkAppendSocket(b *testing.B) {
	text := SocketText{Extend: true}
	row := snapshot.Socket{Head: snapshot.Head{Local: netip.MustParseAddrPort("127.0.0.1:80"), Remote: netip.MustParseAddrPort("10.0.0.1:54321"), State: snapshot.Established}}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = text.AppendSocket(buf[:0], &row)
	}
}
