package output

import (
	"math"
	"strconv"
)

// room returns the bytes that are left in the line.
func (w *line) room() int { return w.max - (len(w.buf) - w.begun) }

// key begins a member. Keys are written out with what surrounds them, as
// `,"pid":`, here and below: a line has two dozen of them, and to append each in
// one piece takes an eighth off its cost.
func (w *line) key(key string) { w.buf = w.keyed(key) }

// keyed returns the line with a key at its end. What makes a member goes on with that, and
// puts the line back once.
func (w *line) keyed(key string) []byte {
	if w.ecs == nil {
		return append(w.buf, key...)
	}
	return w.ecs.appendKey(w.buf, key)
}

// uint adds a number.
func (w *line) uint(key string, v uint64) {
	if w.ecs != nil && v > longMax {
		return
	}
	w.buf = appendUint(w.keyed(key), v)
}

// exactMax is the largest number up to which readers that keep doubles tell all
// integers apart, 2^53 - 1.
const exactMax = 1<<53 - 1

// queue adds the length of a queue, which the kernel keeps in an int and /proc shows
// as unsigned. That of a UDP socket is below zero at times (net/ipv4/udp.c,
// udp_rqueue_get, 6.12).
func (w *line) queue(key string, v uint64) {
	if v > math.MaxInt32 && v <= math.MaxUint32 {
		w.int(key, int64(int32(v)))
	} else {
		w.uint(key, v)
	}
}

// inode adds the inode of a socket, which is a 32-bit number (fs/inode.c,
// get_next_ino, 6.12). 0 says that there is none, and a larger one is none.
func (w *line) inode(v uint64) { w.inodeOf(`,"inode":`, v) }

func (w *line) inodeOf(key string, v uint64) {
	if v != 0 && v <= exactMax {
		w.uint(key, v)
	}
}

// id adds a 64-bit identifier. It is a string, because readers that keep numbers
// as doubles cannot tell identifiers beyond 2^53 apart.
func (w *line) id(key string, v uint64) {
	b := append(w.keyed(key), '"')
	w.buf = append(appendUint(b, v), '"')
}

// hex adds a 64-bit identifier as 16 hexadecimal digits.
func (w *line) hex(key string, v uint64) {
	b := append(w.keyed(key), '"')
	w.buf = append(appendHex64(b, v), '"')
}

// flag adds a boolean.
func (w *line) flag(key string, v bool) {
	w.key(key)
	w.buf = strconv.AppendBool(w.buf, v)
}

// word adds a string that needs no escapes and is short.
func (w *line) word(key, s string) {
	b := append(w.keyed(key), '"')
	w.buf = append(append(b, s...), '"')
}

// name adds the word that stands for a number, unless it has none.
func (w *line) name(key string, words []string, number uint8) {
	if int(number) < len(words) && words[number] != "" {
		w.word(key, words[number])
	}
}

// time adds a time, given in nanoseconds after the Unix epoch.
func (w *encoder) time(key string, ns int64) {
	b := append(w.keyed(key), '"')
	w.buf = append(w.since.append(b, ns), '"')
}

// str adds a string that takes at most limit bytes in the line. Nothing is added
// for an empty one, nor without room: a field that is absent is unknown.
func (w *line) str(key, s string, limit int) {
	if s == "" {
		return
	}
	if w.open(key) {
		w.escaped(s, min(limit, w.room()-1))
		w.buf = append(w.buf, '"')
	}
}

// open begins a string, if the line has room for a character of it and its end. If not, the
// string is left out, and the line counts as cut.
func (w *line) open(key string) bool {
	before := len(w.buf)
	w.key(key)
	w.buf = append(w.buf, '"')
	if w.room() < len(`\u0001"`) {
		w.buf = w.buf[:before]
		w.cutHere()
		return false
	}
	return true
}

// escaped appends the inside of a string. It reports, and keeps in w.cut, whether it
// was cut.
func (w *line) escaped(s string, limit int) (cut bool) {
	w.buf, cut = appendEscaped(w.buf, s, limit)
	if cut {
		w.cutHere()
	}
	return cut
}

// list adds an array of strings that takes at most limit bytes in the line.
// What does not fit is left out.
func (w *line) list(key string, items []string, limit int) {
	if len(items) == 0 {
		return
	}
	w.key(key)
	w.buf = append(w.buf, '[')
	last := len(w.buf) + min(limit, w.room()-1) - len(`,""`)
	for i, s := range items {
		if len(w.buf) > last {
			w.cutHere()
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
func (w *line) array(key string, items []string, quote string, limit int) {
	w.key(key)
	separator, end := byte('['), len(w.buf)+min(limit, w.room())-len(`]`)
	for _, s := range items {
		if len(w.buf)+len(`,""`)+len(s) > end {
			w.cutHere()
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
