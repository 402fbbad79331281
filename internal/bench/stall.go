package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// stallTime is how long the reader of the records takes nothing.
const stallTime = 10 * time.Second

// stallFactor is how many times the connections of the other sections are made, so that
// they take longer than the stall.
const stallFactor = 2

// stalled is a run whose records go to a pipe.
type stalled struct {
	connections  int
	took         time.Duration // of the load
	rest, peak   uint64        // memory of nettrace, in bytes
	grown        uint64        // by how much its own memory grew, in bytes
	closes, lost int           // records of closes, and closes that are said to be lost
	states       int           // the same of transitions, together
	ring         int           // records of losses in the kernel's buffer
	resyncs      int
}

func (r stalled) rate() float64 { return float64(r.connections) / r.took.Seconds() }

// stall measures a reader that takes nothing for a while, beside one that reads.
func (b *bench) stall(ctx context.Context) error {
	var plain, held []stalled
	for round := range b.rounds {
		for _, into := range []struct {
			runs *[]stalled
			d    time.Duration
		}{{&plain, 0}, {&held, stallTime}} {
			r, err := b.stallOnce(ctx, into.d)
			if err != nil {
				return err
			}
			b.progress("stall of %v, round %d of %d: %s connections a second", into.d, round+1, b.rounds, number(r.rate()))
			*into.runs = append(*into.runs, r)
		}
	}
	b.reportStall(plain, held)
	return nil
}

// stallOnce runs nettrace behind a pipe whose reader stalls when the load begins.
func (b *bench) stallOnce(ctx context.Context, stall time.Duration) (r stalled, err error) {
	s, err := newScene()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.start(load.Server()); err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, b.nettrace, "-c", "--json", "--require-bpf", "--netns", s.path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	reader := stallReader{in: out, began: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- reader.read(&r) }()
	<-reader.began
	m, err := memoryOf(cmd.Process.Pid)
	r.rest = m.now
	highest := watchOwn(cmd.Process.Pid, m.anonymous)
	reader.until.Store(time.Now().Add(stall).UnixNano())
	r.connections = stallFactor * b.connections / clients * clients
	took, loadErr := s.connect(0, r.connections, load.FIN)
	r.took = took
	time.Sleep(time.Until(time.Unix(0, reader.until.Load())))
	time.Sleep(2 * time.Second) // the reader catches up, and so does the server
	r.grown = highest() - m.anonymous
	m, memErr := memoryOf(cmd.Process.Pid)
	r.peak = m.peak
	err = errors.Join(err, loadErr, memErr, cmd.Process.Signal(unix.SIGINT), <-done)
	return r, errors.Join(err, cmd.Wait())
}

// watchOwn looks at a process's own memory (RssAnon) from now on. Pages of the kernel's ring
// buffer are none of it: the kernel has all of them from the start, and counts each for
// the process once that has read it. The function ends it and returns the most that was
// seen, in bytes, now included.
func watchOwn(pid int, now uint64) (highest func() uint64) {
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		n := now
		for {
			if m, err := memoryOf(pid); err == nil { // if it has ended, its status says so
				n = max(n, m.anonymous)
			}
			select {
			case <-stop:
				most <- n
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-most
	}
}

// stallReader counts records, and takes nothing until a time.
type stallReader struct {
	in    io.Reader
	until atomic.Int64  // ns after the Unix epoch
	began chan struct{} // the table of the start was read
}

func (s *stallReader) Read(b []byte) (int, error) {
	time.Sleep(time.Until(time.Unix(0, s.until.Load())))
	return s.in.Read(b)
}

// read reads to the end.
func (s *stallReader) read(r *stalled) error {
	began := false
	defer func() {
		if !began {
			close(s.began)
		}
	}()
	lines := bufio.NewScanner(s)
	for lines.Scan() {
		line := lines.Bytes()
		switch {
		case bytes.Contains(line, []byte(`"event":"tcp_state"`)):
			r.states++
		case bytes.Contains(line, []byte(`"event":"tcp_close"`)):
			r.closes++
		case bytes.Contains(line, []byte(`"event":"resync"`)):
			r.resyncs++
		case bytes.Contains(line, []byte(`"event":"lost"`)):
			if err := r.addLost(line); err != nil {
				return err
			}
		case bytes.Contains(line, []byte(`"event":"snapshot_end"`)):
			began = true
			close(s.began)
		}
	}
	if !began {
		return errors.Join(lines.Err(), errors.New("nettrace ended before its table was read"))
	}
	return lines.Err()
}

// addLost adds what a record says is lost.
func (r *stalled) addLost(line []byte) error {
	var lost struct {
		Stage  string `json:"stage"`
		States int    `json:"lost_states"`
		Closes int    `json:"lost_closes"`
	}
	if err := json.Unmarshal(line, &lost); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	if lost.Stage == "ringbuf" {
		r.ring++
	}
	r.states += lost.States
	r.lost += lost.Closes
	return nil
}

func (b *bench) reportStall(plain, held []stalled) {
	value := func(name string, f func(stalled) float64) []string {
		return []string{name, number(medianOf(plain, f)), number(medianOf(held, f))}
	}
	mebibytes := func(n uint64) float64 { return float64(n) / (1 << 20) }
	grown := func(r stalled) float64 { return mebibytes(r.grown) }
	b.report.table(fmt.Sprintf("A reader that stalls for %v: -c --json to a pipe, %s connections, %d rounds", stallTime, thousands(plain[0].connections), b.rounds),
		[]string{"", "reads", "stalls"}, [][]string{
			value("connections per second", stalled.rate),
			{"of the other", "", number(medianRatio(held, plain, stalled.rate))},
			value("transitions read and told as lost, of each connection", func(r stalled) float64 { return float64(r.states) / float64(r.connections) }),
			value("closes read, of each connection", func(r stalled) float64 { return float64(r.closes) / float64(r.connections) }),
			value("closes read and told as lost", func(r stalled) float64 { return float64(r.closes+r.lost) / float64(r.connections) }),
			value("losses in the kernel's buffer", func(r stalled) float64 { return float64(r.ring) }),
			value("comparisons with the kernel's table", func(r stalled) float64 { return float64(r.resyncs) }),
			value("memory before, MiB", func(r stalled) float64 { return mebibytes(r.rest) }),
			value("memory at most, MiB", func(r stalled) float64 { return mebibytes(r.peak) }),
			value("by which its own memory grew, MiB", grown),
			{"of that by the stall, MiB", "", number(medianOf(held, grown) - medianOf(plain, grown))},
		})
	b.report.paragraph("Both ends of a connection are on the host: it has ten transitions and two closes. Memory may grow by " +
		"that of the queue, 64 MiB, and 16 MiB; the timewait sockets of the load are in it with either reader.")
}
