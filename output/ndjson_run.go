package output

import (
	"time"

	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// Start is what the first record of a file says of the run behind it.
type Start struct {
	Version, Commit string // of the program
	Kernel, Arch    string // release and machine, as uname has them
	BootID          string // /proc/sys/kernel/random/boot_id
	Mode            string // "bpf" or "poll": where the changes come from
	Transports      string // whose sockets are told, as "tcp,udp"; empty: nothing is said
	Closes          string // "kernel" or "user": where closes alone come from; empty: all changes are told
	Hooks           []string
	Inexact         []string // what is not exact with these hooks
	Filter          string   // as it was given; empty: none
	Reason          string   // "start", "reopen", "rotate" or "reconnect"
	FileSeq         uint64   // 1 for the first file of the run, and so on
}

// Totals counts what went through since the start.
type Totals struct {
	EventsIn  uint64 // events that came from the kernel
	EventsOut uint64 // records that went out
	Filtered  uint64 // changes that the options or the filter left out

	LostRingbuf uint64 // events that the kernel's ring buffer had no room for
	LostQueue   uint64 // changes that did not fit in the queue to the output
	LostOutput  uint64 // records that could not be written

	// Before + Opened = Closed + Open. No listener counts, nor what is left in
	// TIME_WAIT.
	Open   uint64 // connections that are open now
	Before uint64 // connections that were open when the run began
	Opened uint64 // connections that began
	Closed uint64 // connections that ended
	Failed uint64 // those of them that were never ESTABLISHED

	Held

	SampledOut uint64 // changes of connections that are not in the sample

	Queue QueueTotals // of all outputs

	Sockets SocketTotals // UDP, raw and Unix sockets
}

// Held is what a run holds now.
type Held struct {
	RingBytes   uint64 // waiting in the kernel's ring buffer
	MemoryBytes uint64 // in use by the program, queues not counted
}

// SocketTotals counts UDP, raw and Unix sockets: Before + Opened = Closed + Open.
type SocketTotals struct {
	Open   uint64 // that are there now
	Before uint64 // that were there when the run began
	Opened uint64 // that began
	Closed uint64 // that ended
}

// QueueTotals is what waits for the outputs of a run, and what they have taken.
type QueueTotals struct {
	Bytes  uint64 // waiting to be written
	Oldest uint64 // ns that the oldest record waits already

	Records    uint64 // written
	Written    uint64 // bytes
	Errors     uint64 // of opening, connecting and writing
	Reopenings uint64 // files and connections after the first ones

	Dropped uint64 // records that had no place; each output tells its own
}

// Dropped is a time in which an output did not get all of its records.
type Dropped struct {
	Stage   string // "queue": more came than it takes; "output": it took nothing
	Records uint64 // transitions, closes and rows
	States  uint64 // transitions
	Closes  uint64
	Total   uint64 // records since the start

	Since, Until time.Time // when the first and the last of them were due
}

// Start appends the "start" record, the first of every file.
func (w *NDJSON) Start(at time.Time, s *Start) {
	w.beginAt("start", at)
	w.str(`,"version":`, s.Version, nameMax)
	w.str(`,"commit":`, s.Commit, nameMax)
	w.str(`,"kernel":`, s.Kernel, textMax)
	w.str(`,"arch":`, s.Arch, nameMax)
	w.str(`,"boot_id":`, s.BootID, nameMax)
	w.word(`,"clock":`, "CLOCK_MONOTONIC")
	w.str(`,"mode":`, s.Mode, nameMax)
	w.str(`,"transports":`, s.Transports, nameMax)
	w.str(`,"closes":`, s.Closes, nameMax)
	w.str(`,"reason":`, s.Reason, nameMax)
	w.uint(`,"file_seq":`, s.FileSeq)
	w.list(`,"hooks":`, s.Hooks, pathMax)
	w.list(`,"inexact":`, s.Inexact, pathMax)
	w.str(`,"filter":`, s.Filter, lineMax)
	w.endWhole()
}

// SnapshotEnd appends the "snapshot_end" record: rows "socket" records came
// before it, and reading them took took.
func (w *NDJSON) SnapshotEnd(at time.Time, rows int, took time.Duration) {
	w.beginAt("snapshot_end", at)
	w.uint(`,"rows":`, uint64(max(rows, 0)))
	w.uint(`,"took_ns":`, uint64(max(took, 0)))
	w.endWhole()
}

// Lost appends a "lost" record.
func (w *NDJSON) Lost(at time.Time, l *tracer.Lost) {
	w.beginAt("lost", at)
	w.str(`,"stage":`, l.Stage, nameMax)
	w.uint(`,"lost":`, l.Count)
	w.uint(`,"lost_states":`, l.States)
	w.uint(`,"lost_closes":`, l.Closes)
	w.uint(`,"lost_total":`, l.Total)
	if l.Since != 0 {
		w.time(`,"since":`, w.wall.At(l.Since))
	}
	w.endWhole()
}

// Dropped appends a "lost" record of what an output did not get.
func (w *NDJSON) Dropped(at time.Time, d *Dropped) {
	w.beginAt("lost", at)
	w.str(`,"stage":`, d.Stage, nameMax)
	w.uint(`,"lost":`, d.Records)
	w.uint(`,"lost_states":`, d.States)
	w.uint(`,"lost_closes":`, d.Closes)
	w.uint(`,"lost_total":`, d.Total)
	w.time(`,"since":`, d.Since.UnixNano())
	w.time(`,"until":`, d.Until.UnixNano())
	w.endWhole()
}

// Resync appends a "resync" record: the table was compared with the kernel's.
func (w *NDJSON) Resync(at time.Time, r table.Resync) {
	w.beginAt("resync", at)
	w.uint(`,"added":`, uint64(max(r.Added, 0)))
	w.uint(`,"removed":`, uint64(max(r.Removed, 0)))
	w.uint(`,"changed":`, uint64(max(r.Changed, 0)))
	if r.Unread > 0 {
		w.uint(`,"unread":`, uint64(r.Unread))
	}
	w.endWhole()
}

// Stats appends a "stats" record.
func (w *NDJSON) Stats(at time.Time, t *Totals) {
	w.beginAt("stats", at)
	w.totals(t)
	w.endWhole()
}

// Stop appends the "stop" record, the last of a clean end. The reason is one of
// "signal", "duration", "count", "epipe" and "error".
func (w *NDJSON) Stop(at time.Time, t *Totals, reason string) {
	w.beginAt("stop", at)
	w.str(`,"reason":`, reason, nameMax)
	w.totals(t)
	w.endWhole()
}

func (w *NDJSON) totals(t *Totals) {
	w.uint(`,"events_in":`, t.EventsIn)
	w.uint(`,"events_out":`, t.EventsOut)
	w.uint(`,"filtered":`, t.Filtered)
	w.uint(`,"lost_ringbuf":`, t.LostRingbuf)
	w.uint(`,"lost_queue":`, t.LostQueue)
	w.uint(`,"lost_output":`, t.LostOutput)
	w.uint(`,"open":`, t.Open)
	w.uint(`,"open_before":`, t.Before)
	w.uint(`,"opened":`, t.Opened)
	w.uint(`,"closed":`, t.Closed)
	w.uint(`,"failed":`, t.Failed)
	if t.Sockets != (SocketTotals{}) {
		w.uint(`,"sockets_open":`, t.Sockets.Open)
		w.uint(`,"sockets_open_before":`, t.Sockets.Before)
		w.uint(`,"sockets_opened":`, t.Sockets.Opened)
		w.uint(`,"sockets_closed":`, t.Sockets.Closed)
	}
	w.uint(`,"ring_bytes":`, t.RingBytes)
	w.uint(`,"queue_bytes":`, t.Queue.Bytes)
	w.uint(`,"queue_oldest_ns":`, t.Queue.Oldest)
	w.uint(`,"written_records":`, t.Queue.Records)
	w.uint(`,"written_bytes":`, t.Queue.Written)
	w.uint(`,"write_errors":`, t.Queue.Errors)
	w.uint(`,"reopenings":`, t.Queue.Reopenings)
	w.uint(`,"memory_bytes":`, t.MemoryBytes)
	if w.opts.SampleRate > 1 {
		w.uint(`,"sampled_out":`, t.SampledOut)
	}
}
