package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// packedSuffix is what the name of a compressed file ends with.
const packedSuffix = ".gz"

// shelf is the renamed files of one file: FILE.1, the newest, to FILE.N. Older ones may
// be compressed, which another goroutine does.
type shelf struct {
	path   string // as it was given; it may be a symbolic link
	keep   int
	packer *packer // nil: nothing is compressed

	mu   sync.Mutex // the names stay as they are
	base string     // where path leads
}

func newShelf(path string, r *Rotation, notice func(string)) *shelf {
	s := &shelf{path: path, base: path, keep: r.keep()}
	if r.Compress {
		s.packer = &packer{shelf: s, notice: notice}
	}
	return s
}

// name returns the name of the renamed file of a place.
func (s *shelf) name(place int) string { return fmt.Sprintf("%s.%d", s.base, place) }

// resolve finds where the path leads: the file is renamed, not a link to it.
func (s *shelf) resolve() {
	if base, err := filepath.EvalSymlinks(s.path); err == nil {
		s.base = base
	}
}

// tidy removes what a run that was killed has left, and compresses what it has not.
func (s *shelf) tidy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resolve()
	for place := 1; place <= s.keep; place++ {
		// A compressed file has its name only when it is whole.
		if exists(s.name(place)) && exists(s.name(place)+packedSuffix) {
			_ = os.Remove(s.name(place)) // it is tried again when its turn comes
		}
	}
	if s.packer != nil {
		s.packer.draft = draftOf(s.base)
		_ = os.Remove(s.packer.draft) // the next one is written over it
		s.packer.start()
	}
}

// add renames the file to FILE.1, and the others so that this is free. A run that is
// killed amidst it has lost none: the next one goes on from the gap.
func (s *shelf) add() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resolve()
	place, err := s.free()
	for ; err == nil && place > 1; place-- {
		err = move(s.name(place-1), s.name(place))
	}
	if err == nil {
		err = os.Rename(s.base, s.name(1))
	}
	if err == nil && s.packer != nil {
		s.packer.start()
	}
	return err
}

// free returns the lowest place that is free. If there is none, the oldest file goes,
// and those beyond it that a run with other settings has kept.
func (s *shelf) free() (int, error) {
	for place := 1; place <= s.keep; place++ {
		if !s.taken(place) {
			return place, nil
		}
	}
	for place := s.keep; s.taken(place); place++ {
		if err := errors.Join(remove(s.name(place)), remove(s.name(place)+packedSuffix)); err != nil {
			return 0, err
		}
	}
	return s.keep, nil
}

func (s *shelf) taken(place int) bool {
	return exists(s.name(place)) || exists(s.name(place)+packedSuffix)
}

// move renames a file, and its compressed form.
func move(from, to string) error {
	for _, suffix := range []string{"", packedSuffix} {
		if err := os.Rename(from+suffix, to+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// remove removes a file that may be missing.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// close ends the compressing.
func (s *shelf) close() {
	if s.packer != nil {
		s.packer.close()
	}
}
