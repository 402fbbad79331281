package container

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fileMost    = 4 << 20 // bytes of a state file that are read
	entriesMost = 1 << 15 // names of a directory that are read
	filesKept   = 64      // state files and directories that are kept
)

// stamp says which state of a file or a directory was read.
type stamp struct {
	changed time.Time
	inode   uint64
	size    int64
}

// kept keeps what was made of files, by path, until they change.
type kept[T any] map[string]*keptFile[T]

type keptFile[T any] struct {
	stamp stamp
	made  T
}

// get returns what is made of a file, which is read only if it has changed.
func (k kept[T]) get(path string, read func() (T, error)) (made T, ok bool) {
	now, err := stampOf(path)
	if err != nil {
		delete(k, path)
		return made, false
	}
	if have := k[path]; have != nil && have.stamp == now && !now.fresh() {
		return have.made, true
	}
	if made, err = read(); err != nil {
		delete(k, path)
		return made, false
	}
	if len(k) >= filesKept {
		clear(k)
	}
	k[path] = &keptFile[T]{now, made}
	return made, true
}

func stampOf(path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, err
	}
	return stamp{time.Unix(st.Mtim.Unix()), st.Ino, st.Size}, nil
}

// fresh reports whether a file was changed so lately that another change may have the
// same time: the clock of file systems ticks every few milliseconds.
func (s stamp) fresh() bool {
	const tick = 20 * time.Millisecond
	return time.Since(s.changed) < tick
}

var errNoState = errors.New("not a file with the state of a runtime")

// readState reads a state file. Some lie in the directories of users, who may put there
// what they like: a pipe, a device, a file without end.
func readState(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > fileMost {
		return nil, errors.Join(err, errNoState)
	}
	return io.ReadAll(io.LimitReader(f, fileMost))
}

// readNames reads the names in a directory.
func readNames(path string) ([]string, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(entriesMost)
	if errors.Is(err, io.EOF) { // it is empty
		err = nil
	}
	return names, err
}
