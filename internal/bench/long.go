package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// longRun makes a million connections in two halves. Of each half a third is
// closed by FIN, a third by RST, and a third is refused. After each half it waits
// until the timewait sockets are gone, so memory that grows from the first to the
// second half is a leak. It does so for all changes, and for closes alone.
func (b *bench) longRun(ctx context.Context) error {
	for _, p := range []*peer{nettrace, closesAlone} {
		if err := b.longRunOf(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (b *bench) longRunOf(ctx context.Context, tracer *peer) (err error) {
	s, err := newScene()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.nice = longRunNice
	p, err := b.pipe(s, tracer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.kill()) }()
	halves, err := b.halves(ctx, s, p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	t, err := p.end()
	if err != nil {
		return err
	}
	b.reportLongRun(tracer, halves, t)
	return nil
}

// piped is a nettrace whose records are counted as they come, by a pipe.
type piped struct {
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	counted chan error
	totals  totals // once counted has an answer
	ended   bool
}

// pipe starts a nettrace and counts its records.
func (b *bench) pipe(s *scene, tracer *peer) (*piped, error) {
	args := tracer.command(b, s)
	p := &piped{cmd: exec.Command(args[0], args[1:]...), counted: make(chan error, 1)}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := tracer.launch(p.cmd); err != nil {
		return nil, err
	}
	go func() {
		var err error
		p.totals, err = countRecords(out)
		_, _ = io.Copy(io.Discard, out) // never let it wait for a reader
		p.counted <- err
	}()
	return p, nil
}

// end ends it as Ctrl-C does, and returns what it reported.
func (p *piped) end() (totals, error) {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return totals{}, err
	}
	if err := <-p.counted; err != nil {
		return totals{}, fmt.Errorf("%w: %s", err, p.stderr.Bytes())
	}
	p.ended = true
	if err := p.cmd.Wait(); err != nil {
		return totals{}, fmt.Errorf("%w: %s", err, p.stderr.Bytes())
	}
	return p.totals, nil
}

// kill ends what end has not.
func (p *piped) kill() error {
	if p.ended {
		return nil
	}
	return errors.Join(p.cmd.Process.Kill(), p.cmd.Wait())
}

// longRunNice is the priority of the load in the long run, in which a third
// process takes part of the processors: the one that reads and counts the records.
const longRunNice = 10

// half holds what was measured in one half of the long run.
type half struct {
	connections, closes int
	took                time.Duration
	memory              memory  // after the timewait sockets were gone
	maps                bpfMaps // the same
	swept               bpfMaps // after a comparison with the kernel's table
}

func (b *bench) halves(ctx context.Context, s *scene, pid int) ([2]half, error) {
	var halves [2]half
	if err := sleep(ctx, time.Second); err != nil { // until it traces
		return halves, err
	}
	if _, err := s.start(load.Server()); err != nil {
		return halves, err
	}
	first := firstConnection
	for i := range halves {
		h := &halves[i]
		h.connections = b.million / 2 / clients * clients
		b.progress("long run: connections %d to %d", first-firstConnection, first-firstConnection+h.connections-1)
		var err error
		if h.took, err = s.connect(first, h.connections, -1); err != nil {
			return halves, err
		}
		for n := first; n < first+h.connections; n++ {
			h.closes++
			if load.EndingOf(n) != load.Refused {
				h.closes++
			}
		}
		first += h.connections
		b.progress("long run: %v for the timewait sockets to go", b.pause)
		if err := sleep(ctx, b.pause); err != nil {
			return halves, err
		}
		if h.memory, err = memoryOf(pid); err != nil {
			return halves, err
		}
		if h.maps, err = bpfMapsOf(pid); err != nil {
			return halves, err
		}
		if h.swept, err = compared(ctx, pid); err != nil {
			return halves, err
		}
	}
	if err := s.stop(); err != nil { // closes the listener
		return halves, err
	}
	return halves, sleep(ctx, time.Second)
}

// compared asks a nettrace to compare with the kernel's table, as it does by itself every five
// minutes, and returns its maps once nothing is left in them, or after a while. A second scan
// confirms what the first one misses, 5 s later or more.
func compared(ctx context.Context, pid int) (maps bpfMaps, err error) {
	if err := unix.Kill(pid, unix.SIGUSR1); err != nil {
		return maps, fmt.Errorf("have the tables compared: %w", err)
	}
	for range 100 {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return maps, err
		}
		if maps, err = bpfMapsOf(pid); err != nil || maps.kept == 0 {
			return maps, err
		}
	}
	return maps, nil
}

func (b *bench) reportLongRun(tracer *peer, halves [2]half, t totals) {
	a, z := halves[0], halves[1]
	peak := float64(z.memory.peak) / float64(a.memory.peak)
	now := float64(z.memory.now) / float64(a.memory.now)
	closes := a.closes + z.closes
	row := func(name string, x, y, ratio string, budget []string) []string {
		return append([]string{name, x, y, ratio}, budget...)
	}
	rate := func(h half) string { return number(float64(h.connections) / h.took.Seconds()) }
	maps := float64(z.maps.memory) / float64(a.maps.memory)
	b.report.table(fmt.Sprintf("The long run: %s connections, %s", thousands(a.connections+z.connections), tracer.name),
		[]string{"", "first half", "second half", "ratio", "budget", ""},
		[][]string{
			row("connections per second", rate(a), rate(z), "", nil),
			row("resident at peak", mebibytes(a.memory.peak), mebibytes(z.memory.peak), number(peak), b.report.budget(peak, 1.1, "1.1")),
			row("resident when all are gone", mebibytes(a.memory.now), mebibytes(z.memory.now), number(now), b.report.budget(now, 1.1, "1.1")),
			row("BPF maps, in the kernel", mebibytes(a.maps.memory), mebibytes(z.maps.memory), number(maps), b.report.budget(maps, 1.1, "1.1")),
			row("connections left in them", thousands(a.maps.kept), thousands(z.maps.kept), "", nil),
			row("the same after a comparison", thousands(a.swept.kept), thousands(z.swept.kept), "", b.report.budget(float64(a.swept.kept+z.swept.kept), 0, "0")),
			row("left in the table", "", thousands(t.open), "", b.report.budget(float64(t.open), 0, "0")),
			row("closes not told, of "+thousands(closes), "", thousands(closes-t.closes), "", b.report.budget(float64(abs(closes-t.closes)), 0, "0")),
			row("said to be lost", "", thousands(t.lost), "", b.report.budget(float64(t.lost), 0, "0")),
			row("told by comparing with the kernel", "", thousands(t.inferred), "", nil),
		})
	b.report.paragraph(fmt.Sprintf("A third of the connections each ends by FIN, by RST, and refused. The records are read "+
		"from a pipe and counted meanwhile, for which the load has a lower priority (nice %d).", longRunNice))
}

// bpfMaps are the maps of a process.
type bpfMaps struct {
	memory uint64 // that they take in the kernel, in bytes
	kept   int    // entries of those that hold a connection until its end
}

// bpfMapsOf reads the maps that a process has open, from the fdinfo files of their
// descriptors (bpf_map_show_fdinfo, kernel/bpf/syscall.c).
func bpfMapsOf(pid int) (bpfMaps, error) {
	var all bpfMaps
	seen := make(map[uint64]bool)
	for info := range fdinfos(pid) {
		id, ok := infoNumber(info, "map_id")
		if !ok || seen[id] {
			continue
		}
		seen[id] = true
		memory, _ := infoNumber(info, "memlock")
		all.memory += memory
		n, err := keptIn(ebpf.MapID(id))
		if err != nil {
			return all, fmt.Errorf("BPF map %d: %w", id, err)
		}
		all.kept += n
	}
	return all, nil
}

// keptIn counts the connections of a map, if it is one that holds some until their end: the
// cookies in lives_index (bpf/lives.h), or the entries of acceptors.
func keptIn(id ebpf.MapID) (n int, err error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	info, err := m.Info()
	if err != nil || info.Name != "lives_index" && info.Name != "acceptors" {
		return 0, err
	}
	count := func([]byte) int { return 1 }
	if info.Name == "lives_index" {
		count = cookiesIn
	}
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		n += count(value)
	}
	return n, entries.Err()
}

// cookiesIn counts the 64-bit numbers that are not 0.
func cookiesIn(value []byte) (n int) {
	for at := 0; at < len(value); at += 8 {
		if binary.NativeEndian.Uint64(value[at:]) != 0 {
			n++
		}
	}
	return n
}

func abs(n int) int { return max(n, -n) }
