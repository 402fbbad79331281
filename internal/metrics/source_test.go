package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// script is a source that reports what a test wrote down, and then lives until the end.
// It stands for a tracer: it has hooks and a table.
type script struct {
	rows    []snapshot.State // of the table
	changes []*table.Change
	sockets []*table.SocketChange
	traced  tracer.Protocols
	lost    uint64
	resyncs int
	dead    atomic.Bool // it does not go round any more
	told    chan struct{}
}

func (s *script) Run(ctx context.Context, h tracer.Handler) error {
	errs := []error{h.Snapshot(slices.Values([]*table.Conn{}), time.Millisecond)}
	for _, c := range s.changes {
		errs = append(errs, h.Change(c))
	}
	for _, c := range s.sockets {
		errs = append(errs, h.Socket(c))
	}
	if s.lost > 0 {
		errs = append(errs, h.Lost(tracer.Lost{Stage: "ringbuf", Count: s.lost, Total: s.lost}))
	}
	for range s.resyncs {
		errs = append(errs, h.Resync(table.Resync{Added: 1}))
	}
	close(s.told)
	for ctx.Err() == nil {
		if !s.dead.Load() {
			errs = append(errs, h.Idle())
		}
		time.Sleep(time.Millisecond)
	}
	return errors.Join(errs...)
}

func (s *script) Stats() tracer.Stats { return tracer.Stats{Queued: 4096} }

func (s *script) Resync() {}

func (s *script) EachNamespace(func(string, uint32) error) error { return nil }

func (s *script) Hooks() []tracer.Hook {
	known := tracer.KnownHooks(tracer.TCP)
	known[0].Chosen = true
	return known
}

// Table makes a table of listeners and connections in the states of the script.
func (s *script) Table() *table.Table {
	procs := table.NewProcesses(1, func(*snapshot.Process, uint64) {}, func(uint32) {})
	t := table.New(table.Config{ScansOnly: true}, procs, func(*table.Change) {})
	t.BeginScan(1, true)
	for i, state := range s.rows {
		e := table.Event{
			Kind: table.EventRow, New: state, Time: 2, After: 2, Inode: uint32(i + 1),
			Local: netip.MustParseAddrPort(fmt.Sprintf("10.0.0.5:%d", 1000+i)), Remote: netip.MustParseAddrPort("10.0.0.9:443"),
		}
		if state == snapshot.Listen {
			e.Remote = netip.MustParseAddrPort("0.0.0.0:0")
		}
		t.Apply(&e)
	}
	t.EndScan(3)
	return t
}

// begin runs a script with metrics until the test ends, and waits until all is told.
func begin(t *testing.T, s *script) *Metrics {
	t.Helper()
	m := newMetrics()
	s.told = make(chan struct{})
	run := stream.New(s, stream.Options{
		Listening: output.ServersAndEstablished, Version: "1.2.3", Observer: m, Sample: 1000, Events: stream.EventsFailed,
		Trace: tracer.Options{Protocols: s.traced},
	})
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error)
	go func() { over <- run.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	<-s.told
	return m
}

// life is the changes of one connection, from ms 0 on: each state is one millisecond
// after the one before.
func life(id uint64, d table.Direction, outcome table.Outcome, walk ...snapshot.State) []*table.Change {
	const start = 1_000_000
	remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(id >> 16), byte(id >> 8), byte(id)}), uint16(id%60000+1))
	conn := &table.Conn{
		Head: snapshot.Head{Local: netip.MustParseAddrPort("10.0.0.5:443"), Remote: remote},
		ID:   id, Start: start, StartKnown: true, Direction: d,
	}
	var all []*table.Change
	at := uint64(start)
	for i, to := range walk[1:] {
		conn.History.Add(to)
		all = append(all, &table.Change{Kind: table.ChangeState, Time: at, Old: walk[i], New: to, Conn: conn})
		at += millisecond
	}
	return append(all, &table.Change{Kind: table.ChangeClose, Time: at - millisecond, Conn: conn, Close: &table.Closed{Outcome: outcome}})
}

// socketLives are changes of a UDP and of a Unix socket.
func socketLives() (all []*table.SocketChange) {
	for p, kinds := range map[snapshot.Protocol][]table.SocketChangeKind{
		snapshot.UDP:  {table.SocketOpen, table.SocketBind, table.SocketConnect, table.SocketConnect, table.SocketClose},
		snapshot.Unix: {table.SocketSeen, table.SocketListen, table.SocketClose},
	} {
		s := &table.Socket{Head: snapshot.Head{Protocol: p, Local: netip.MustParseAddrPort("10.0.0.5:53"), Remote: netip.MustParseAddrPort("10.0.0.9:53")}}
		if p == snapshot.Unix {
			s.Head, s.Unix = snapshot.Head{Protocol: p}, &table.UnixEnd{HasSocket: true}
		}
		for _, kind := range kinds {
			all = append(all, &table.SocketChange{Kind: kind, Socket: s})
		}
	}
	return all
}

// lives are one connection of each kind that the words for ends tell apart.
func lives() []*table.Change {
	const (
		closed, sent, recv, open = snapshot.Close, snapshot.SynSent, snapshot.SynRecv, snapshot.Established
		fin1, fin2, wait, last   = snapshot.FinWait1, snapshot.FinWait2, snapshot.CloseWait, snapshot.LastAck
	)
	return slices.Concat(
		life(1, table.Outgoing, table.Finished, closed, sent, open, fin1, fin2, snapshot.TimeWait),
		life(2, table.Incoming, table.Finished, snapshot.Listen, recv, open, wait, last, closed),
		life(3, table.Outgoing, table.Refused, closed, sent, closed),
		life(4, table.Outgoing, table.ResetLocal, closed, sent, open, closed),
		life(5, table.Incoming, table.HandshakeDropped, snapshot.Listen, recv, closed),
		life(6, table.Outgoing, table.Unreachable, closed), // it never left CLOSE
		life(7, table.DirectionUnknown, table.OutcomeUnknown, open, closed),
		[]*table.Change{
			{Kind: table.ChangeState, Old: closed, New: snapshot.Listen, Conn: &table.Conn{}},
			{Kind: table.ChangeState, Old: snapshot.Listen, New: closed, Conn: &table.Conn{}},
			{Kind: table.ChangeState, Old: open, New: sent, Inferred: true, Conn: &table.Conn{}}, // TCP has no such step
			{Kind: table.ChangeOwner, Conn: &table.Conn{}},
		},
	)
}
