package sink

import (
	"fmt"
	"time"
)

const (
	// roomMost is how much is written before a place is looked at again.
	roomMost = 1 << 20
	// lookInterval is how often the path of a file is compared with the open file, so
	// that one that was renamed or removed is left.
	lookInterval = time.Second
	// longestLine is more than the first line of a file has.
	longestLine = 4096
)

// file is a Target that appends to a file, FIFO or device.
//
// A file whose path leads elsewhere, or nowhere, is left: another program has renamed
// or removed it. The line that was begun is finished first. Where the path cannot be
// opened, the old file goes on.
type file struct {
	path     string
	rotation Rotation
	notice   func(string)
	now      func() time.Time

	open   *opened // nil: there is none
	shelf  *shelf  // of the renamed files; nil: none are made
	why    Begin   // of the next file
	asked  bool    // Reopen was called
	looked time.Time
	torn   bool // the last line is not whole
	stuck  bool // the last Write failed
	room   int
	stale  bool      // the path cannot be opened, and somebody knows
	grows  bool      // the file cannot be renamed, and somebody knows
	shift  time.Time // the next attempt to rename it
}

// openFile returns a Target that appends to a file. It fails where the file cannot be
// opened, but for a FIFO that nobody reads yet.
func openFile(path string, r Rotation, notice func(string)) (*file, error) {
	return openFileAt(path, r, notice, time.Now)
}

func openFileAt(path string, r Rotation, notice func(string), now func() time.Time) (*file, error) {
	f := &file{path: path, rotation: r, notice: notice, now: now, why: Start, room: roomMost}
	if err := f.use(now()); err != nil && !isUnread(err) {
		return nil, err
	}
	return f, nil
}

// use opens the path.
func (f *file) use(now time.Time) error {
	o, err := openPath(f.path, now)
	if err != nil {
		return err
	}
	f.leave()
	f.open, f.torn, f.stuck, f.looked = o, false, false, now
	if f.rotation.on() && f.shelf == nil && o.regular {
		f.shelf = newShelf(f.path, &f.rotation, f.notice)
		f.shelf.tidy()
	}
	return nil
}

// Ready opens, reopens and rotates.
func (f *file) Ready(next int) (Begin, error) {
	now := f.now()
	f.room = roomMost
	if f.open == nil {
		if err := f.use(now); err != nil {
			return Goes, err
		}
	}
	if err := f.open.endTorn(); err != nil {
		return Goes, fmt.Errorf("%s: %w", f.path, err)
	}
	if f.why != Goes {
		return f.begin(now)
	}
	if f.torn {
		f.room = next
	}
	if f.torn && !f.stuck {
		return Goes, nil
	}
	if f.asked || now.Sub(f.looked) >= lookInterval {
		if f.look(now) {
			return f.reopened()
		}
	}
	return f.size(now, next)
}

// begin says that a file begins. One that was there before may have its full size.
func (f *file) begin(now time.Time) (Begin, error) {
	if f.full(now, longestLine) && f.rotate(now) {
		if err := f.use(now); err != nil {
			return Goes, err
		}
	}
	return f.reopened()
}

// reopened returns why the file begins, once.
func (f *file) reopened() (Begin, error) {
	why := f.why
	f.why = Goes
	return why, nil
}

// look compares the path with the open file. It reports whether a file begins: the new
// one of the path, or the old one if it is empty now.
func (f *file) look(now time.Time) bool {
	f.looked, f.asked = now, false
	if f.open.isAt(f.path) {
		f.stale = false
		if f.open.truncated() {
			f.torn, f.why = false, Reopen
		}
		return f.why != Goes
	}
	if err := f.use(now); err != nil {
		f.once(&f.stale, "reopen: %v; records go on to the file that was opened before", err)
		return false
	}
	f.stale, f.why = false, Reopen
	return true
}

// once tells that something cannot be done, once until it can.
func (f *file) once(told *bool, format string, err error) {
	if !*told {
		f.notice(fmt.Sprintf(format, err))
	}
	*told = true
}

// size rotates where that is due, and sets how much has room before it is.
func (f *file) size(now time.Time, next int) (Begin, error) {
	if f.torn {
		return Goes, nil
	}
	if f.full(now, next) && now.Sub(f.shift) >= 0 {
		if !f.open.isAt(f.path) {
			f.look(now)
			return f.reopened()
		}
		if f.rotate(now) {
			f.why = Rotate
			if err := f.use(now); err != nil {
				return Goes, err
			}
			return f.reopened()
		}
	}
	if left := f.rotation.Size - f.open.size; f.rotation.Size > 0 && left >= int64(next) {
		f.room = int(min(left, roomMost))
	}
	return Goes, nil
}

// full reports whether the file is to be renamed before a line of a length.
func (f *file) full(now time.Time, next int) bool {
	age := now.Sub(f.open.born)
	if f.shelf == nil || !f.open.regular || f.open.size == 0 || age < lives {
		return false
	}
	r := &f.rotation
	return r.Size > 0 && f.open.size+int64(next) > r.Size || r.Age > 0 && age >= r.Age
}

// rotate renames the file. It reports whether that was done: nothing is written to it
// any more then.
func (f *file) rotate(now time.Time) bool {
	if err := f.shelf.add(); err != nil {
		f.once(&f.grows, "rotate: %v; the file grows on", err)
		f.shift = now.Add(lives)
		return false
	}
	f.grows = false
	f.leave()
	return true
}

// leave closes the open file, if there is one. File systems of other hosts tell only now
// what they could not store: nothing can be written again, so somebody has to know.
func (f *file) leave() {
	if f.open == nil {
		return
	}
	if err := f.open.Close(); err != nil {
		f.notice(fmt.Sprintf("%v; lines that were written to the file that is left may be missing there", err))
	}
	f.open = nil
}

// Room returns how much may be written before Ready is to be called.
func (f *file) Room() int { return f.room }

// Write appends. Where a FIFO has no room it returns what it has taken so far.
func (f *file) Write(lines []byte) (int, error) {
	if f.open == nil {
		return 0, fmt.Errorf("write %s: the file is not open", f.path)
	}
	n, err := f.open.append(lines)
	if n > 0 {
		f.torn = lines[n-1] != '\n'
	}
	f.stuck = err != nil
	if err != nil && !f.open.regular {
		// The reader of a FIFO is gone. The next one begins with a whole line.
		_ = f.open.Close()
		f.open, f.why, f.torn = nil, Reopen, false
	}
	return n, err
}

// Reopen has the path opened anew, if it leads to another file by now.
func (f *file) Reopen() { f.asked = true }

// Tick asks for a look at the path.
func (*file) Tick() time.Duration { return lookInterval }

// Close closes the file. What is being compressed stays as it was.
func (f *file) Close() error {
	if f.shelf != nil {
		f.shelf.close()
	}
	if f.open == nil {
		return nil
	}
	return f.open.Close()
}
