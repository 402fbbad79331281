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

// tail is what is kept free in a line for its end.
const tail = len(`,"truncated":true}` + "\n")

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
	Host     string                  // value of the "host" key
	RunID    uint64                  // new at each start of the program
	Poll     bool                    // the changes come from polling, not from the kernel's events
	Cmdline  bool                    // print command lines
	UserName func(uid uint32) string // name of a user, empty when there is none; nil: no names
}

// NDJSON writes records as lines of JSON, one flat object each, described by
// docs/nettrace.schema.json. The methods named after a record append it to a
// buffer; Flush writes the buffer. Nothing else writes, and nothing limits the
// buffer: the caller flushes when it has no more to add for now, or when
// Buffered says that it is time.
//
// A time is either a time.Time, or nanoseconds of CLOCK_MONOTONIC where the
// kernel said it; SetClock ties the two together. An NDJSON must not be used by
// several goroutines at once.
type NDJSON struct {
	opts   NDJSONOptions
	out    io.Writer
	buf    []byte // whole lines, and the line that is being made
	line   int    // where that line begins
	cut    bool   // a string of that line was cut
	seq    uint64
	ident  []byte // the members that are the same in each line
	short  bool   // the host name among them was cut
	offset int64  // wall clock minus CLOCK_MONOTONIC, ns
	clock  timeText
	// written has parts of the last records, by connection.
	written []written
	since   timeText // for times that lie behind those of the events
}

// NewNDJSON gives a writer of NDJSON to out. It takes the wall clock's distance
// from CLOCK_MONOTONIC as zero until SetClock is called.
func NewNDJSON(out io.Writer, opts NDJSONOptions) *NDJSON {
	w := &NDJSON{opts: opts, out: out, buf: make([]byte, 0, 64<<10+lineMax)}
	w.ident = append(w.ident, `,"run_id":"`...)
	w.ident = appendHex64(w.ident, opts.RunID)
	w.ident = append(w.ident, `","host":"`...)
	w.ident, w.short = appendEscaped(w.ident, opts.Host, textMax)
	w.ident = append(w.ident, '"')
	return w
}

// SetClock says that CLOCK_MONOTONIC showed mono nanoseconds at the time wall.
// Call it again from time to time: the wall clock may be set.
func (w *NDJSON) SetClock(mono uint64, wall time.Time) {
	w.offset = wall.UnixNano() - int64(mono)
}

// Buffered gives the number of bytes that wait for Flush.
func (w *NDJSON) Buffered() int { return len(w.buf) }

// Flush writes the buffered lines with one call of Write. After an error the
// bytes that were not written are kept, so that a later Flush goes on where this
// one stopped and tears no line. The error is the one of the io.Writer.
func (w *NDJSON) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	n, err := w.out.Write(w.buf)
	if n < len(w.buf) && err == nil {
		err = io.ErrShortWrite
	}
	w.buf = w.buf[:copy(w.buf, w.buf[n:])]
	return err
}

// begin starts the line of an event that happened ns nanoseconds after the Unix
// epoch.
func (w *NDJSON) begin(event string, ns int64) {
	w.line, w.cut = len(w.buf), w.short
	w.seq++
	w.buf = append(w.buf, `{"timestamp":"`...)
	w.buf = w.clock.append(w.buf, ns)
	w.buf = append(w.buf, `","v":1,"event":"`...)
	w.buf = append(w.buf, event...)
	w.buf = append(w.buf, `","seq":`...)
	w.buf = strconv.AppendUint(w.buf, w.seq, 10)
	w.buf = append(w.buf, w.ident...)
}

func (w *NDJSON) beginAt(event string, at time.Time) { w.begin(event, at.UnixNano()) }

// end closes the line.
func (w *NDJSON) end() {
	if w.cut {
		w.buf = append(w.buf, `,"truncated":true`...)
	}
	w.buf = append(w.buf, '}', '\n')
}

// wall converts a time of CLOCK_MONOTONIC to nanoseconds after the Unix epoch.
func (w *NDJSON) wall(mono uint64) int64 { return int64(mono) + w.offset }

// room gives the bytes that are left in the line.
func (w *NDJSON) room() int { return lineMax - tail - (len(w.buf) - w.line) }

// key begins a member. Keys are written out with what surrounds them, as
// `,"pid":`, here and below: a line has two dozen of them, and to append each in
// one piece takes an eighth off its cost.
func (w *NDJSON) key(key string) {
	w.buf = append(w.buf, key...)
}

// uint adds a number.
func (w *NDJSON) uint(key string, v uint64) {
	w.key(key)
	w.buf = strconv.AppendUint(w.buf, v, 10)
}

// id adds a 64-bit identifier. It is a string, because readers that keep numbers
// as doubles cannot tell identifiers beyond 2^53 apart.
func (w *NDJSON) id(key string, v uint64) {
	w.key(key)
	w.buf = append(w.buf, '"')
	w.buf = strconv.AppendUint(w.buf, v, 10)
	w.buf = append(w.buf, '"')
}

// flag adds a boolean.
func (w *NDJSON) flag(key string, v bool) {
	w.key(key)
	w.buf = strconv.AppendBool(w.buf, v)
}

// word adds a string that needs no escapes and is short.
func (w *NDJSON) word(key, s string) {
	w.key(key)
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, s...)
	w.buf = append(w.buf, '"')
}

// name adds the word that stands for a number, unless it has none.
func (w *NDJSON) name(key string, words []string, number uint8) {
	if int(number) < len(words) && words[number] != "" {
		w.word(key, words[number])
	}
}

// time adds a time, given in nanoseconds after the Unix epoch.
func (w *NDJSON) time(key string, ns int64) {
	w.key(key)
	w.buf = append(w.buf, '"')
	w.buf = w.since.append(w.buf, ns)
	w.buf = append(w.buf, '"')
}

// str adds a string that takes at most limit bytes in the line. Nothing is added
// for an empty one: a field that is absent is unknown.
func (w *NDJSON) str(key, s string, limit int) {
	if s == "" {
		return
	}
	w.key(key)
	w.buf = append(w.buf, '"')
	w.escaped(s, min(limit, w.room()-1))
	w.buf = append(w.buf, '"')
}

// escaped appends the inside of a string, and tells and keeps in mind whether it
// was cut.
func (w *NDJSON) escaped(s string, limit int) (cut bool) {
	w.buf, cut = appendEscaped(w.buf, s, limit)
	w.cut = w.cut || cut
	return cut
}

// list adds an array of strings that takes at most limit bytes in the line.
// What does not fit is left out.
func (w *NDJSON) list(key string, items []string, limit int) {
	if len(items) == 0 {
		return
	}
	w.key(key)
	w.buf = append(w.buf, '[')
	last := len(w.buf) + min(limit, w.room()-1) - len(`,""`)
	for i, s := range items {
		if len(w.buf) > last {
			w.cut = true
			break
		}
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, '"')
		w.escaped(s, last-len(w.buf)+len(`,"`))
		w.buf = append(w.buf, '"')
	}
	w.buf = append(w.buf, ']')
}

// array adds an array of items that need no escapes, each between quotes, which
// are empty for numbers. Items that do not fit in limit bytes are left out.
func (w *NDJSON) array(key string, items []string, quote string, limit int) {
	w.key(key)
	separator, end := byte('['), len(w.buf)+min(limit, w.room())-len(`]`)
	for _, s := range items {
		if len(w.buf)+len(`,""`)+len(s) > end {
			w.cut = true
			break
		}
		w.buf = append(w.buf, separator)
		w.buf = append(w.buf, quote...)
		w.buf = append(w.buf, s...)
		w.buf = append(w.buf, quote...)
		separator = ','
	}
	w.buf = append(w.buf, ']')
}
