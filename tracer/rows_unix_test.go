package tracer

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestPollUnix follows Unix sockets by the rows of /proc.
func TestPollUnix(t *testing.T) {
	const (
		header    = "Num       RefCount Protocol Flags    Type St Inode Path\n"
		listener  = "0000000000000000: 00000002 00000000 00010000 0001 01 61 /run/x.sock\n"
		waiting   = "0000000000000000: 00000002 00000000 00000000 0001 02 0 /run/x.sock\n"
		open      = "0000000000000000: 00000002 00000000 00000000 0001 01 62\n"
		connected = "0000000000000000: 00000003 00000000 00000000 0001 03 62\n"
		accepted  = "0000000000000000: 00000003 00000000 00000000 0001 03 63 /run/x.sock\n"
		abstract  = "0000000000000000: 00000002 00000000 00000000 0002 01 64 @name\n"
	)
	tree := newProcTree(t)
	tree.write("net/unix", header+listener)
	tree.process(200, 62, "client")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := &unixScript{script: script{cancel: cancel, steps: []func(){
		func() { tree.write("net/unix", header+listener+open) },
		func() { tree.write("net/unix", header+listener+connected+waiting) },
		func() { tree.write("net/unix", header+listener+connected+accepted+abstract) },
		func() { tree.write("net/unix", header+listener+abstract) },
		func() {}, // what two polls do not see is gone
		func() {},
	}}}
	p := &Poller{Proc: tree.root, Protocols: Unix, every: time.Millisecond}
	if err := p.Run(ctx, w); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"open 62 CLOSE",
		"connect 62 ESTABLISHED of client",
		`open 63 ESTABLISHED "/run/x.sock"`,
		`bind 63 ESTABLISHED "/run/x.sock"`,
		`open 64 CLOSE "\x00name"`,
		`bind 64 CLOSE "\x00name"`,
		"close 62 ESTABLISHED of client",
		`close 63 ESTABLISHED "/run/x.sock"`,
	}
	slices.Sort(want) // rows that go in one poll go in no order
	slices.Sort(w.told)
	if diff := cmp.Diff(want, w.told); diff != "" {
		t.Errorf("(-want +told):\n%s", diff)
	}
}

// unixScript is a script that notes the changes of Unix sockets.
type unixScript struct {
	script
	told []string
}

func (s *unixScript) Socket(c *table.SocketChange) error {
	line := fmt.Sprintf("%v %d %v", c.Kind, c.Socket.Inode, c.Socket.State)
	if name := c.Socket.Unix.Name; name != "" {
		line += fmt.Sprintf(" %q", name)
	}
	if p := c.Socket.Owner.Process; p != nil {
		line += " of " + p.Comm
	}
	if c.Source != table.SocketPolled {
		line += " " + c.Source.String()
	}
	s.told = append(s.told, line)
	return nil
}

// TestUnixRow compares rows of sock_diag with the events they become.
func TestUnixRow(t *testing.T) {
	for name, test := range map[string]struct {
		row  snapshot.UnixEnd
		want table.UnixEvent
	}{
		"listener": {
			snapshot.UnixEnd{Type: unix.SOCK_STREAM, State: snapshot.Listen, Named: true, Name: []byte("\x00a")},
			table.UnixEvent{Name: []byte("\x00a"), Named: true, HasSocket: true},
		},
		"half of a pair": {
			snapshot.UnixEnd{State: snapshot.Established, HasPeer: true, PeerInode: 7},
			table.UnixEvent{HasSocket: true, Peer: table.PeerByInode, PeerInode: 7},
		},
		"not accepted": {
			snapshot.UnixEnd{State: snapshot.Established, HasPeer: true},
			table.UnixEvent{HasSocket: true, Peer: table.PeerByInode},
		},
	} {
		e := unixRow(&test.row, 5)
		if diff := cmp.Diff(test.want, e.Unix); diff != "" || e.State != test.row.State || e.Netns != 5 || !e.Shown {
			t.Errorf("%s: %+v (-want +got):\n%s", name, e, diff)
		}
	}
}
