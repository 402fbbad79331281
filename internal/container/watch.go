package container

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/cgroup"
)

// watch hears of new cgroups by inotify(7), without privilege: runtimes and systemd make
// them with mkdir(2), some time before a process is in them. Where it hears nothing, as
// without a place for the watch, cgroups are looked up when their first socket is seen.
//
// begin, add and close are for the worker; a goroutine of its own reads.
type watch struct {
	cgroups *cgroup.Tree
	file    *os.File         // nil: it hears nothing
	dirs    map[int32]string // paths below the mount, by the number of the watch
	events  chan []created
	done    chan struct{}
}

// created is a directory that was made, or that is gone.
type created struct {
	dir  int32 // number of the watch
	name string
	gone bool
	lost bool // events were lost
}

// watchMost bounds the directories that are watched: the kernel has a limit for a user
// (max_user_watches), which is others' too.
const watchMost = 2048

func newWatch(t *cgroup.Tree) *watch {
	return &watch{cgroups: t, dirs: map[int32]string{}, events: make(chan []created), done: make(chan struct{})}
}

func (w *watch) begin() {
	if w.cgroups.Mount() == "" {
		return
	}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return
	}
	w.file = os.NewFile(uintptr(fd), "inotify")
	go w.read(w.file)
}

func (w *watch) close() {
	close(w.done)
	if w.file != nil {
		w.file.Close()
	}
}

// add watches a cgroup.
func (w *watch) add(path string) {
	if w.file == nil || len(w.dirs) >= watchMost {
		return
	}
	number := -1
	err := w.control(func(fd int) (err error) {
		number, err = unix.InotifyAddWatch(fd, filepath.Join(w.cgroups.Mount(), path), unix.IN_CREATE|unix.IN_ONLYDIR)
		return err
	})
	if err == nil {
		w.dirs[int32(number)] = path
	}
}

func (w *watch) control(f func(fd int) error) error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// read hands over what the kernel tells, until the file is closed.
func (w *watch) read(file *os.File) {
	const room = 16 << 10
	buf := make([]byte, room)
	for {
		n, err := file.Read(buf)
		if err != nil {
			return
		}
		select {
		case w.events <- parseEvents(buf[:n]):
		case <-w.done:
			return
		}
	}
}

// parseEvents reads struct inotify_event (include/uapi/linux/inotify.h).
func parseEvents(buf []byte) (list []created) {
	for len(buf) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(buf[4:])
		size := unix.SizeofInotifyEvent + int64(binary.NativeEndian.Uint32(buf[12:]))
		if size > int64(len(buf)) {
			break
		}
		name, _, _ := bytes.Cut(buf[unix.SizeofInotifyEvent:size], []byte{0})
		e := created{
			dir: int32(binary.NativeEndian.Uint32(buf)), name: string(name),
			gone: mask&unix.IN_IGNORED != 0, lost: mask&unix.IN_Q_OVERFLOW != 0,
		}
		if e.gone || e.lost || mask&unix.IN_ISDIR != 0 {
			list = append(list, e)
		}
		buf = buf[size:]
	}
	return list
}

// made looks at directories that were made.
func (w *worker) made(news *watch, list []created) {
	for _, e := range list {
		dir, known := news.dirs[e.dir]
		switch {
		case e.lost:
			w.prime(news)
		case e.gone:
			delete(news.dirs, e.dir)
		case known && e.name != "":
			w.below(news, filepath.Join(dir, e.name))
		}
	}
}

// below looks at a directory and at those in it, which may have been made before it was
// watched.
func (w *worker) below(news *watch, path string) {
	id, ok := news.cgroups.ID(path)
	if !ok {
		return
	}
	w.known(news, id, path)
	names, _ := os.ReadDir(filepath.Join(news.cgroups.Mount(), path)) // one that is gone has none
	for _, d := range names {
		if d.Type()&fs.ModeDir != 0 {
			w.below(news, filepath.Join(path, d.Name()))
		}
	}
}
