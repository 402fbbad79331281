// Package metrics tells Prometheus, and whoever asks for /healthz, what a run of the
// stream goes through.
//
// Metrics is an output of the run: it counts what it is given, and allocates nothing for
// it. A small server of HTTP in the same process answers scrapes from these counts. The
// number of series is bounded and known: no address, port, process or path is a label.
// docs/metrics.md describes each of them.
package metrics

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

const (
	// patience is how long the stream may take to answer. One that polls looks once a second.
	patience = 2 * time.Second
	// lookEvery is the time between two walks over the table, which take a few
	// milliseconds of the stream's time on a busy host, however often it is scraped.
	lookEvery = time.Second
)

// Metrics counts what a run reports, and tells who asks. Listen makes one.
type Metrics struct {
	stream.Nop
	// done returns what the outputs of the run have done; nil: there are none.
	done func() []sink.Stats

	server *server
	began  time.Time
	// patience is how long the stream may take to answer.
	patience time.Duration
	counts   *counts
	stage    atomic.Int32 // how far the run is
	run      run

	mu   sync.Mutex
	seen sight
}

// run is what is known of the run from its start on.
type run struct {
	stream *stream.Stream
	start  output.Start
}

// How far a run is.
const (
	opening int32 = iota // nothing is known of the run yet
	reading              // its initial table is being read
	running
	ended
)

// sight is what the last look at the run has shown.
type sight struct {
	at      time.Time
	alive   bool // it answered
	states  [states]uint64
	waiting int // bytes in the kernel's buffer
	ring    int // bytes that it holds; 0: there is none
}

var _ stream.Observer = (*Metrics)(nil)

// Listen listens at a place, and answers from now on. Where none is given it returns
// nil, which observes nothing.
func Listen(at Place) (*Metrics, error) {
	if !at.Given() {
		return nil, nil
	}
	l, err := at.listen()
	if err != nil {
		return nil, err
	}
	m := newMetrics()
	m.server = newServer(l, m.answer, standardLimits)
	go m.server.serve()
	return m, nil
}

func newMetrics() *Metrics {
	return &Metrics{began: time.Now(), patience: patience, counts: newCounts()}
}

// Observer returns m as what observes a run, or nil. outputs returns what the outputs of
// the run have done; any goroutine may call it.
func (m *Metrics) Observer(outputs func() []sink.Stats) stream.Observer {
	if m == nil {
		return nil
	}
	m.done = outputs
	return m
}

// Close ends the answers, and removes the socket.
func (m *Metrics) Close() {
	if m != nil && m.server != nil {
		_ = m.server.close() // the run is over, whatever it says
	}
}

// Observe gets the run before its start.
func (m *Metrics) Observe(s *stream.Stream) { m.run.stream = s }

// Start gets what is known of the run.
func (m *Metrics) Start(s *output.Start) error {
	m.run.start = *s
	m.stage.Store(reading)
	return nil
}

// Snapshot gets the initial table: from now on the run answers.
func (m *Metrics) Snapshot(iter.Seq[*table.Conn], time.Duration) error {
	m.stage.Store(running)
	return nil
}

// Change counts a change.
func (m *Metrics) Change(c *table.Change) error {
	switch c.Kind {
	case table.ChangeState:
		m.counts.transition(c)
	case table.ChangeClose:
		m.counts.close(c)
	}
	return nil
}

// Socket counts a change of a UDP, raw or Unix socket.
func (m *Metrics) Socket(c *table.SocketChange) error {
	m.counts.socket(c)
	return nil
}

// Lost counts what was lost in the kernel.
func (m *Metrics) Lost(l tracer.Lost) error {
	m.counts.lost.Store(l.Total)
	return nil
}

// Resync counts a comparison with the kernel's table.
func (m *Metrics) Resync(table.Resync) error {
	m.counts.resyncs.Add(1)
	return nil
}

// Stop is the end of the run.
func (m *Metrics) Stop(*output.Totals, string) error {
	m.stage.Store(ended)
	return nil
}

// look returns what the run shows of itself, as of a second ago at most.
func (m *Metrics) look() sight {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.seen.at) >= lookEvery {
		m.seen = sight{}
		err := m.ask(func(is stream.Standing) {
			m.seen.waiting, m.seen.ring = is.Stats.Queued, is.Ring
			for row := range is.Rows {
				m.seen.states[known(row.State)]++
			}
		})
		m.seen.at, m.seen.alive = time.Now(), err == nil
	}
	return m.seen
}

// ask has the stream call see, if it lives.
func (m *Metrics) ask(see func(stream.Standing)) error {
	ctx, cancel := context.WithTimeout(context.Background(), m.patience)
	defer cancel()
	return m.run.stream.Look(ctx, see)
}

// outputs returns what the outputs have done.
func (m *Metrics) outputs() []sink.Stats {
	if m.done == nil {
		return nil
	}
	return m.done()
}

// known returns a state that has a name: 0 stands for all others.
func known(s snapshot.State) snapshot.State {
	if int(s) < states {
		return s
	}
	return 0
}
