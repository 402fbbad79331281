package filter_test

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// socketScene are records of UDP, raw and Unix sockets in the stream.
func socketScene() map[string]*field.Subject {
	const second = 1e9
	udp := func(remote string, state snapshot.State) *table.Socket {
		return &table.Socket{
			Head: snapshot.Head{
				Protocol: snapshot.UDP, State: state, UID: 33, Inode: 7, Local: netip.MustParseAddrPort("10.0.0.1:5353"), Remote: netip.MustParseAddrPort(remote),
				Owner: snapshot.Owner{Process: &snapshot.Process{PID: 101, Comm: "dig"}, Source: snapshot.OwnerSocket},
			},
			ID: 5, Start: second, StartKnown: true, HasUID: true,
		}
	}
	unix := func(name string, state snapshot.State, hasSocket bool) *table.Socket {
		return &table.Socket{
			Head: snapshot.Head{Protocol: snapshot.Unix, State: state, Inode: 8}, ID: 6, Start: second, Type: syscall.SOCK_STREAM,
			Unix: &table.UnixEnd{Name: name, HasSocket: hasSocket, PeerPID: 812, PeerInode: 9},
		}
	}
	change := func(kind table.SocketChangeKind, s *table.Socket, old snapshot.State) *field.Subject {
		c := &table.SocketChange{Kind: kind, Time: 3 * second, Socket: s, Old: table.SocketBefore{State: old}}
		if kind == table.SocketClose {
			c.Closed = &table.SocketClosed{Reason: table.ReasonExit}
		}
		if kind == table.SocketDisconnect {
			c.Errno, c.Source = syscall.ECONNABORTED, table.SocketInferred
		}
		subject := &field.Subject{}
		subject.SetSocketChange(c)
		return subject
	}
	row := &field.Subject{}
	row.SetRow(unix("\x00a\x00b", snapshot.Listen, true))
	raw := &field.Subject{}
	raw.SetRow(&table.Socket{Head: snapshot.Head{Protocol: snapshot.Raw, Local: netip.MustParseAddrPort("[::]:58"), Remote: netip.MustParseAddrPort("[::]:0"), State: snapshot.Close}})
	return map[string]*field.Subject{
		"bind":       change(table.SocketBind, udp("0.0.0.0:0", snapshot.Close), snapshot.Close),
		"connect":    change(table.SocketConnect, udp("10.0.0.2:53", snapshot.Established), snapshot.Close),
		"disconnect": change(table.SocketDisconnect, udp("0.0.0.0:0", snapshot.Close), snapshot.Established),
		"close":      change(table.SocketClose, udp("10.0.0.2:53", snapshot.Established), snapshot.Established),
		"accept":     change(table.SocketAccept, unix("/run/x", snapshot.Established, true), snapshot.Established),
		"row":        row,
		"raw":        raw,
	}
}

func TestMatchSockets(t *testing.T) {
	checkMatches(t, socketScene(), filter.Run{In: field.Stream, Of: filter.Protocols{Others: true, Unix: true}}, [][2]string{
		{"udp", "bind connect disconnect close"},
		{"unix", "accept row"},
		{"raw and ip6", "raw"},
		{"tcp", ""},
		{"sport 5353", "bind connect disconnect close"},
		{"dport 53", "connect close"},
		{"dst 10/8", "connect close"},
		{"state established", "connect close accept"},
		{"state listening", "row"},
		{"old_state established", "disconnect"},
		{"old_state syn-sent", "accept"},
		{"change = connect", "connect"},
		{"change in { bind, close }", "bind close"},
		{"has change", "bind connect disconnect close accept"},
		{"reason = exit", "close"},
		{"duration > 1s", "close"},
		{"duration >= 2s", "close"},
		{"errno ECONNABORTED", "disconnect"},
		{"inferred true", "disconnect"},
		{"src /run/*", "accept"},
		{"src @a@b", "row"},
		{"path ~ ^@a", "row"},
		{"path = /run/x", "accept"},
		{"type = STREAM", "accept row"},
		{"peer_pid 812", "accept row"},
		{"peer_inode 9", "accept row"},
		{"pid 101", "bind connect disconnect close"},
		{"comm dig", "bind connect disconnect close"},
		{"uid 33", "bind connect disconnect close"},
		{"inode 8", "accept row"},
		{"outcome = unknown", ""},
		{"latency > 0s", ""},
		{"conn_id != 5", "accept row raw"},
	})
}

// TestExplainSockets checks what is said of the kernel's side, which decides of TCP alone.
func TestExplainSockets(t *testing.T) {
	for want, of := range map[string]filter.Protocols{
		"in kernel   dport = :53\n":                      {},
		"in kernel   of TCP: dport = :53\n":              {Others: true},
		"in kernel   nothing: it decides of TCP alone\n": {Others: true, NoTCP: true},
	} {
		text := compile(t, "dport 53", filter.Run{In: field.Stream, Of: of}).Explain()
		if !strings.Contains(text, want) {
			t.Errorf("want %q in:\n%s", want, text)
		}
	}
}
