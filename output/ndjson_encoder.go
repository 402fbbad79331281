package output

import (
	"io"
	"strconv"
	"time"
)

// lineMax bounds a line of NDJSON, its newline included. It is PIPE_BUF on
// Linux (include/uapi/linux/limits.h), and below the line limit of the log
// shippers in use.
const lineMax = 4096

// seqMax is how many digits a number has at most.
const seqMax = 20

// The most bytes that a string takes in a line, escapes included. They are
// chosen so that every field has its place in the longest possible line, and
// only the strings are cut.
const (
	nameMax = 96   // thread names and interfaces: 15 bytes, up to 6 for each
	textMax = 256  // host and user names, versions
	pathMax = 1024 // paths
	listMax = 512  // lists of addresses or processes
)

// NDJSONOptions says what an NDJSON writer adds to its records.
type NDJSONOptions struct {
	Host    string  // value of the "host" key
	RunID   uint64  // new at each start of the program
	Poll    bool    // the changes come from polling, not from the kernel's events
	Cmdline bool    // print command lines
	Users   Users   // names of users; nil: numbers only
	Devices Devices // names of interfaces; nil: numbers only
	// Workloads are what the processes of rows run in; nil: not known.
	Workloads Workloads
	// SampleRate says that the records are of one connection in so many; 0 or 1: of
	// all.
	SampleRate uint32
	// Fields are the members that the records of rows and changes have, in this
	// order, besides timestamp, event and seq; nil: all. Records of the run itself
	// have all of theirs. The names are those of the native schema, whatever the
	// records call the members.
	Fields []string
	// DeferSeq leaves the number of a record to who writes it: a NUL byte, which can
	// stand nowhere else, is where its digits go. output/sink puts them in.
	DeferSeq bool
}

// encoder makes records in a buffer. It has what every record has (the envelope) and
// what a record's members are made with. The record encoders embed it.
type encoder struct {
	line
	opts  NDJSONOptions
	out   io.Writer
	seq   uint64
	ident []byte // the members that are the same in each line
	short bool   // the host name at their end was cut
	wall  Clock
	clock timeText
	since timeText // for times that lie behind those of the events
}

// line makes one flat object of JSON at the end of a buffer, and has one method for each
// kind of member.
//
// Between beginLine and end a line is being made: buf[begun:] is its text so far, and cut
// says whether a string in it was cut. No line is longer than lineMax.
type line struct {
	buf   []byte // whole lines, and the line that is being made
	begun int    // where that line begins
	cut   bool   // a string of that line was cut
	mark  string // the member that says so
	max   int    // bytes that a line has at most before that and its end
	ecs   *ecs   // nil: the native schema
	pick  *pick  // nil: lines have all members
}

// bufferSize is how much is buffered before the buffer is full, in bytes.
const bufferSize = 64 << 10

func newEncoder(out io.Writer, opts NDJSONOptions, wall Clock) encoder {
	w := encoder{opts: opts, out: out, wall: wall, line: line{pick: newPick(opts.Fields), buf: make([]byte, 0, bufferSize+lineMax)}}
	w.setMark(`,"truncated":true`, 1)
	w.identify(`,"run_id":"`, `,"sample_rate":`, `,"host":"`)
	return w
}

// setMark sets the member that says that a string was cut, and what is left in a line
// beside it and the digits of the record's number, which stands there numbers times.
func (w *encoder) setMark(mark string, numbers int) {
	w.mark = mark
	w.max = lineMax - len(mark) - len("}\n")
	if w.opts.DeferSeq {
		w.max -= numbers * (seqMax - 1)
	}
}

// identify makes the members that are the same in each line, under these keys.
func (w *encoder) identify(run, rate, host string) {
	w.ident = append(w.ident[:0], run...)
	w.ident = appendHex64(w.ident, w.opts.RunID)
	w.ident = append(w.ident, '"')
	if w.opts.SampleRate > 1 {
		w.ident = append(w.ident, rate...)
		w.ident = strconv.AppendUint(w.ident, uint64(w.opts.SampleRate), 10)
	}
	w.ident = append(w.ident, host...)
	w.ident, w.short = appendEscaped(w.ident, w.opts.Host, textMax)
	w.ident = append(w.ident, '"')
}

// swapper is an io.Writer that takes the buffer, and returns an empty one. After an error
// it has taken nothing, and returns the buffer itself.
type swapper interface {
	Swap(lines []byte) (empty []byte, err error)
}

// Buffered returns the number of bytes that wait for Flush.
func (w *encoder) Buffered() int { return len(w.buf) }

// Flush writes the buffered lines with one call of Write, or of Swap. After an error the
// bytes that were not written are kept, so that a later Flush goes on where this
// one stopped and tears no line. The error is the one of the io.Writer.
func (w *encoder) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if s, ok := w.out.(swapper); ok {
		var err error
		w.buf, err = s.Swap(w.buf)
		return err
	}
	n, err := w.out.Write(w.buf)
	if n < len(w.buf) && err == nil {
		err = io.ErrShortWrite
	}
	w.buf = w.buf[:copy(w.buf, w.buf[n:])]
	return err
}

// Full reports whether it is time for Flush.
func (w *encoder) Full() bool { return len(w.buf) >= bufferSize }

// begin starts the line of an event that happened ns nanoseconds after the Unix
// epoch.
func (w *encoder) begin(event string, ns int64) {
	if w.ecs != nil {
		w.beginECS(event, ecsClassOf(event), ns)
		return
	}
	w.beginLine()
	b := w.buf
	b = append(b, `{"timestamp":"`...)
	b = w.clock.append(b, ns)
	b = append(b, `","v":1,"event":"`...)
	b = append(b, event...)
	b = append(b, `","seq":`...)
	w.buf = b
	w.appendSeq()
	w.endEnvelope()
}

// beginLine makes ready for the next line.
func (w *encoder) beginLine() {
	w.begun, w.cut = len(w.buf), false
	if w.pick != nil {
		w.pick.begin()
	}
	w.seq++
}

// endEnvelope adds the members that are the same in each line.
func (w *encoder) endEnvelope() {
	w.buf = append(w.buf, w.ident...)
	if w.short {
		w.cutHere()
	}
}

// appendSeq appends the number of the record, or what stands for it.
func (w *encoder) appendSeq() {
	if w.opts.DeferSeq {
		w.buf = append(w.buf, 0)
		return
	}
	w.buf = strconv.AppendUint(w.buf, w.seq, 10)
}

func (w *encoder) beginAt(event string, at time.Time) { w.begin(event, at.UnixNano()) }

// cutHere marks the string that ends here as cut.
func (w *line) cutHere() {
	w.cut = true
	if w.pick != nil {
		w.pick.cut(len(w.buf))
	}
}

// end closes the line of a row or a change, which has the chosen members alone.
func (w *line) end() {
	if w.pick != nil {
		w.buf, w.cut = w.pick.reduce(w.buf, w.begun)
	}
	w.endWhole()
}

// endWhole closes the line of a record of the run itself.
func (w *line) endWhole() {
	if w.cut {
		w.buf = append(w.buf, w.mark...)
	}
	w.buf = append(w.buf, '}', '\n')
}
