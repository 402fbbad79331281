package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/internal/summary"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// socketScript is a source of sockets that are none of TCP.
type socketScript struct {
	script
	sockets []*table.Socket
	told    []*table.SocketChange
}

func (s *socketScript) Run(ctx context.Context, h tracer.Handler) error {
	if err := errors.Join(h.Sockets(slices.Values(s.sockets)), h.Snapshot(slices.Values(s.rows), time.Millisecond)); err != nil {
		return err
	}
	for _, c := range s.told {
		if err := h.Socket(c); err != nil {
			return err
		}
	}
	if err := h.Idle(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

const lowID = 1 << 40 // is in every sample

func udp(id uint64, remote string) *table.Socket {
	s := &table.Socket{
		Head: snapshot.Head{Protocol: snapshot.UDP, State: snapshot.Close, Local: netip.MustParseAddrPort("10.0.0.5:5353"), Remote: netip.MustParseAddrPort(remote)},
		ID:   lowID + id, Shown: true, StartKnown: true, Start: 1,
	}
	if s.Remote.Port() != 0 {
		s.State = snapshot.Established
	}
	return s
}

func unixSocket(id uint64, name string, state snapshot.State) *table.Socket {
	return &table.Socket{
		Head: snapshot.Head{Protocol: snapshot.Unix, State: state, Inode: id}, ID: lowID + id, Shown: true, Start: 1, Type: 1,
		Unix: &table.UnixEnd{Name: name, HasSocket: true},
	}
}

// sockets is a bound UDP socket, one that connects and disconnects, a listener of Unix
// sockets, and one that connects to it.
func sockets() *socketScript {
	change := func(kind table.SocketChangeKind, s, before *table.Socket) *table.SocketChange {
		c := &table.SocketChange{Kind: kind, Time: 2e9, Socket: s}
		if before != nil {
			c.Old = table.SocketBefore{State: before.State, Head: before.Head, Shown: before.Shown}
		}
		if kind == table.SocketClose {
			c.Closed = &table.SocketClosed{Reason: table.ReasonExit}
		}
		return c
	}
	const peer, none = "10.0.0.9:53", "0.0.0.0:0"
	hidden := udp(9, none)
	hidden.Shown = false
	return &socketScript{
		sockets: []*table.Socket{unixSocket(3, "/run/x", snapshot.Listen), unixSocket(4, "", snapshot.Established), udp(1, none), udp(5, peer), hidden},
		told: []*table.SocketChange{
			change(table.SocketOpen, udp(2, none), nil),
			change(table.SocketConnect, udp(2, peer), udp(2, none)),
			change(table.SocketSeen, udp(2, peer), udp(2, peer)),
			change(table.SocketDisconnect, udp(2, none), udp(2, peer)),
			change(table.SocketClose, udp(2, none), udp(2, none)),
			change(table.SocketConnect, unixSocket(4, "", snapshot.Established), unixSocket(4, "", snapshot.Close)),
			change(table.SocketClose, unixSocket(3, "/run/x", snapshot.Listen), unixSocket(3, "/run/x", snapshot.Listen)),
		},
	}
}

// heard is an output that notes what it is given.
type heard struct {
	stream.Nop
	rows, changes []string
	containers    []string // of all of these that are in one
	reason        string
}

func (h *heard) Sockets(rows iter.Seq[*table.Socket]) error {
	for s := range rows {
		h.rows = append(h.rows, fmt.Sprint(s.ID-lowID))
		h.see(s)
	}
	return nil
}

func (h *heard) Socket(c *table.SocketChange) error {
	h.changes = append(h.changes, fmt.Sprintf("%d %v", c.Socket.ID-lowID, c.Kind))
	h.see(c.Socket)
	return nil
}

func (h *heard) see(s *table.Socket) {
	if s.Workload != nil {
		h.containers = append(h.containers, s.Workload.ContainerName)
	}
}

func (h *heard) Stop(_ *output.Totals, reason string) error {
	h.reason = reason
	return nil
}

var ofSockets = tracer.Options{Protocols: tracer.UDP | tracer.Unix}

// TestSocketStages checks what of UDP and Unix sockets each option lets through.
func TestSocketStages(t *testing.T) {
	filtered := func(text string) stream.Binder {
		f, err := filter.Parse(text, filter.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return func(in field.Where) (stream.Matcher, string, error) {
			p, err := f.Bind(noNames{}, filter.Run{In: in, Of: filter.Protocols{NoTCP: true, Others: true, Unix: true}})
			return p, "", err
		}
	}
	all := []string{"2 open", "2 connect", "2 seen", "2 disconnect", "2 close", "4 connect", "3 close"}
	const both = output.ServersAndEstablished
	for _, tt := range []struct {
		name          string
		opts          stream.Options
		rows, changes []string
		filtered      float64
	}{
		{"all", stream.Options{Listening: both}, []string{"3", "4", "1", "5", "9"}, all, 0},
		{"connected", stream.Options{}, []string{"4", "5"}, []string{"2 connect", "2 seen", "2 disconnect", "4 connect"}, 3},
		{"servers", stream.Options{Listening: output.OnlyServers}, []string{"3", "1", "9"}, []string{"2 open", "2 connect", "2 disconnect", "2 close", "3 close"}, 2},
		{"closes", stream.Options{Listening: both, Events: stream.EventsClose}, nil, []string{"2 close", "3 close"}, 5},
		{"failures", stream.Options{Listening: both, Events: stream.EventsFailed}, nil, nil, 7},
		{"no table", stream.Options{Listening: both, NoSnapshot: true}, nil, all, 0},
		{"count", stream.Options{Listening: both, Count: 3}, []string{"3", "4", "1", "5", "9"}, []string{"2 open", "2 connect", "2 seen", "2 disconnect"}, 0},
		{"count of closes", stream.Options{Listening: both, Events: stream.EventsClose, Count: 1}, nil, []string{"2 close"}, 5},
		{"filter", stream.Options{Listening: both, Bind: filtered("udp and change = connect or state listening")}, []string{"3"}, []string{"2 connect", "3 close"}, 5},
		{"sample", stream.Options{Listening: both, Sample: 1 << 30}, nil, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.Trace = ofSockets
			var lines bytes.Buffer
			out, records := new(heard), stream.NewNDJSON(&lines, stream.Native, output.NDJSONOptions{}, wall)
			ctx, cancel := context.WithTimeout(context.Background(), shortly)
			defer cancel()
			var s *stream.Stream
			var err error
			if tt.opts.Bind != nil {
				s, err = stream.NewFiltered(sockets(), tt.opts)
			} else {
				s = stream.New(sockets(), tt.opts)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(ctx, out, records); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([][]string{tt.rows, tt.changes}, [][]string{out.rows, out.changes}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			stop := lines.String()[strings.LastIndex(strings.TrimSpace(lines.String()), "\n")+1:]
			if !strings.Contains(stop, fmt.Sprintf(`"filtered":%v,`, tt.filtered)) {
				t.Errorf("want %v filtered: %s", tt.filtered, stop)
			}
			if end := fmt.Sprintf(`"event":"snapshot_end","seq":%d,`, len(tt.rows)+2); !strings.Contains(lines.String(), end) || !strings.Contains(lines.String(), fmt.Sprintf(`"rows":%d,`, len(tt.rows))) {
				t.Errorf("want %d rows:\n%s", len(tt.rows), lines.String())
			}
		})
	}
}

// TestEnrichSockets checks that rows and changes have what owners run in.
func TestEnrichSockets(t *testing.T) {
	source := sockets()
	source.sockets[0].CgroupID, source.told[0].Socket.CgroupID = 8, 7
	run := stream.New(source, stream.Options{Listening: output.ServersAndEstablished, Trace: ofSockets})
	p := &places{byCgroup: map[uint64]*snapshot.Workload{7: {ContainerName: "web"}, 8: {ContainerName: "db"}}}
	run.Enrich(p)
	ctx, cancel := context.WithTimeout(context.Background(), shortly)
	defer cancel()
	saw := new(heard)
	if err := run.Run(ctx, saw); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"db", "web"}, saw.containers); diff != "" || p.early != 0 {
		t.Errorf("%d questions before the table (-want +got):\n%s", p.early, diff)
	}
}

// TestSocketText checks the tables and the lines of text.
func TestSocketText(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tables stream.Tables
		want   []string // titles and rows before the changes
	}{
		{"both", stream.BothTables, []string{"Active Internet", "udp 10.0.0.5:5353 0.0.0.0:*", "udp 10.0.0.5:5353 10.0.0.9:53", "Active UNIX", "unix LISTENING /run/x", "unix CONNECTED"}},
		{"Internet", stream.InternetTable, []string{"Active Internet", "udp 10.0.0.5:5353 0.0.0.0:*", "udp 10.0.0.5:5353 10.0.0.9:53"}},
		{"Unix", stream.UnixTable, []string{"Active UNIX", "unix LISTENING /run/x", "unix CONNECTED"}},
		{"none", stream.NoTable, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			ctx, cancel := context.WithTimeout(context.Background(), shortly)
			defer cancel()
			opts := stream.Options{Listening: output.ServersAndEstablished, Trace: ofSockets}
			text := stream.NewText(&out, stream.TextOptions{Listening: output.ServersAndEstablished, Tables: tt.tables}, wall)
			if err := stream.New(sockets(), opts).Run(ctx, text); err != nil {
				t.Fatal(err)
			}
			before, after, _ := strings.Cut(out.String(), "\nTIME ")
			var got []string
			for line := range strings.Lines(before) {
				switch words := strings.Fields(line); {
				case strings.HasPrefix(line, "Active"):
					got = append(got, strings.Join(words[:2], " "))
				case strings.HasPrefix(line, "udp"):
					got = append(got, strings.Join([]string{words[0], words[3], words[4]}, " "))
				case strings.HasPrefix(line, "unix"):
					words = slices.DeleteFunc(words, func(w string) bool {
						return slices.Contains([]string{"[", "]", "ACC", "STREAM", "-", "3", "4"}, w)
					})
					got = append(got, strings.Join(words, " "))
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%s", diff, before)
			}
			if n := strings.Count(after, "10.0.0.5:5353"); n != 4 || strings.Contains(after, " seen ") {
				t.Errorf("%d lines of UDP sockets:\n%s", n, after)
			}
		})
	}
}

// TestSocketSummary checks that sockets are summed up as connections are.
func TestSocketSummary(t *testing.T) {
	for list, want := range map[string]string{
		"transport":        "OPENED ENDED FAILED OPEN TRANSPORT|1 1 0 3 udp|0 1 0 1 unix|1 2 0 4 total",
		"transport,change": "COUNT TRANSPORT CHANGE|1 udp open|1 udp connect|1 udp disconnect|1 udp close|1 unix connect|1 unix close|6 total",
		"state":            "COUNT STATE|2 ESTABLISHED|2 CLOSE|4 total",
		"reason":           "COUNT REASON|2 exit",
	} {
		spec, err := summary.Parse(&summary.Options{List: list, In: field.Stream | field.Others})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(context.Background(), shortly)
		sums := stream.NewSummaryText(&out, stream.SummaryOptions{Spec: spec}, nil)
		err = stream.New(sockets(), stream.Options{Listening: output.ServersAndEstablished, Trace: ofSockets}).Run(ctx, sums)
		cancel()
		var got []string
		for line := range strings.Lines(out.String()) {
			if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
				got = append(got, strings.Join(words, " "))
			}
		}
		if diff := cmp.Diff(strings.Split(want, "|"), got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s\n%s", list, err, diff, out.String())
		}
	}
}
