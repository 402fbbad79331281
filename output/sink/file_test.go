package sink

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFileAppends(t *testing.T) {
	s := newScene(t, Rotation{})
	s.must("a\n", "b\n")
	s.wants(map[string]string{"out": "start start\na\nb\n"})
	if err := s.file.Close(); err != nil {
		t.Fatal(err)
	}
	s.reopen(t, Rotation{})
	s.must("c\n")
	s.wants(map[string]string{"out": "start start\na\nb\nstart start\nc\n"})
}

// TestFileOpenFlags looks at the descriptor itself.
func TestFileOpenFlags(t *testing.T) {
	old := unix.Umask(0o026)
	defer unix.Umask(old)
	s := newScene(t, Rotation{})
	st, err := os.Stat(s.path)
	if err != nil || st.Mode() != 0o640 {
		t.Errorf("mode %v, %v, want 0640", st.Mode(), err)
	}
	for cmd, want := range map[int]int{unix.F_GETFL: unix.O_WRONLY | unix.O_APPEND, unix.F_GETFD: unix.FD_CLOEXEC} {
		err := s.file.open.control(func(fd int) error {
			got, err := unix.FcntlInt(uintptr(fd), cmd, 0)
			if got &= unix.O_ACCMODE | unix.O_APPEND | unix.FD_CLOEXEC; got != want {
				t.Errorf("fcntl %d gives %#x, want %#x", cmd, got, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	unix.Umask(0o077)
	s = newScene(t, Rotation{})
	if st, err := os.Stat(s.path); err != nil || st.Mode() != 0o600 {
		t.Errorf("under umask 077 the mode is %v, %v", st.Mode(), err)
	}
}

// TestFileRefusals checks that what cannot be opened is told with the file and the
// reason before anything starts.
func TestFileRefusals(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/plain", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(dir+"/socket", unix.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                                  "open DIR: is a directory",
		dir + "/no/file":                     "open DIR/no/file: no such file or directory (its directory DIR/no is missing)",
		dir + "/plain/no":                    "open DIR/plain/no: not a directory",
		dir + "/socket":                      "open DIR/socket: it is a socket: name it unix:DIR/socket or unixgram:DIR/socket",
		dir + "/" + strings.Repeat("x", 300): "open DIR/" + strings.Repeat("x", 300) + ": file name too long",
	} {
		target, err := Open(&Spec{Place: path}, func(string) {})
		if want = strings.ReplaceAll(want, "DIR", dir); err == nil || err.Error() != want {
			t.Errorf("%s: %v, %v, want %s", path, target, err, want)
		}
		if err != nil && target != nil {
			t.Errorf("%s: a target beside an error: %v", path, target)
		}
	}
}

// TestFileUnwritable needs a user whom permissions hold.
func TestFileUnwritable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		target, err := Open(&Spec{Place: dir + "/out"}, func(string) {})
		if want := "open " + dir + "/out: permission denied"; err == nil || err.Error() != want {
			t.Errorf("%v, %v, want %s", target, err, want)
		}
	})
}

// asNobody calls f on a thread whose file accesses are those of another user, if this
// one is root.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with it
		const nobody = 65534
		if err := unix.Setfsuid(nobody); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

func TestFileLocked(t *testing.T) {
	s := newScene(t, Rotation{})
	_, err := Open(&Spec{Place: s.path}, func(string) {})
	want := "open " + s.path + ": another nettrace writes to it (it is locked): give each a file of its own"
	if err == nil || err.Error() != want {
		t.Errorf("a second one: %v, want %s", err, want)
	}
	s.file.Close()
	if _, err = Open(&Spec{Place: s.path}, func(string) {}); err != nil {
		t.Errorf("after the first one has ended: %v", err)
	}
}

// TestFileTornEnd checks that a line that a crash has cut does not take the next one.
func TestFileTornEnd(t *testing.T) {
	for was, want := range map[string]string{
		"":            "start start\na\n",
		"whole\n":     "whole\nstart start\na\n",
		"{\"half":     "{\"half\nstart start\na\n",
		"whole\nhalf": "whole\nhalf\nstart start\na\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/out", []byte(was), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSceneAt(t, dir, dir+"/out", Rotation{})
		s.must("a\n")
		s.wants(map[string]string{"out": want})
	}
}

// TestFileLeft checks that a file is left when its path leads elsewhere: each second,
// and at once on Reopen.
func TestFileLeft(t *testing.T) {
	for name, wait := range map[string]func(s *scene){
		"second": func(s *scene) { s.clock.pass(lookInterval) },
		"SIGHUP": func(s *scene) { s.file.Reopen() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, Rotation{})
			s.must("a\n")
			must(t, os.Rename(s.path, s.path+".old"))
			wait(s)
			s.must("b\n")
			s.wants(map[string]string{"out.old": "start start\na\n", "out": "start reopen\nb\n"})
			must(t, os.Remove(s.path))
			wait(s)
			s.must("c\n")
			s.wants(map[string]string{"out.old": "start start\na\n", "out": "start reopen\nc\n"})
			must(t, os.WriteFile(s.path+".new", []byte("other\n"), 0o600))
			must(t, os.Rename(s.path+".new", s.path))
			wait(s)
			s.must() // without a line, too
			s.wants(map[string]string{"out.old": "start start\na\n", "out": "other\nstart reopen\n"})
			wait(s)
			s.must("d\n")
			s.wants(map[string]string{"out.old": "start start\na\n", "out": "other\nstart reopen\nd\n"})
		})
	}
}

// TestFileTruncated checks that copytruncate is survived: no hole, and the file begins
// anew.
func TestFileTruncated(t *testing.T) {
	s := newScene(t, Rotation{})
	s.must("a\n", "b\n")
	must(t, os.Truncate(s.path, 0))
	s.must("c\n")
	s.wants(map[string]string{"out": "c\n"})
	must(t, os.Truncate(s.path, 0))
	s.clock.pass(lookInterval)
	s.must("d\n")
	s.wants(map[string]string{"out": "start reopen\nd\n"})
}

// TestFileBegunLine checks that a line which the file has a part of is finished there
// before it is left, and written anew where that cannot be.
func TestFileBegunLine(t *testing.T) {
	s := newScene(t, Rotation{})
	s.must("a\n")
	s.half("begun line\n", 5)
	must(t, os.Rename(s.path, s.path+".old"))
	s.file.Reopen()
	s.must("b\n")
	s.wants(map[string]string{"out.old": "start start\na\nbegun line\n", "out": "start reopen\nb\n"})

	s.half("second line\n", 6)
	s.file.stuck = true // as after a Write that failed
	must(t, os.Rename(s.path, s.path+".older"))
	s.file.Reopen()
	s.must("c\n")
	s.wants(map[string]string{
		"out.old": "start start\na\nbegun line\n", "out.older": "start reopen\nb\nsecond", "out": "start reopen\nsecond line\nc\n",
	})
}

// half writes the first bytes of a line, the rest of which waits.
func (s *scene) half(line string, n int) {
	s.t.Helper()
	s.put(line)
	if _, err := s.file.Ready(len(line)); err != nil {
		s.t.Fatal(err)
	}
	if m, err := s.file.Write([]byte(line[:n])); m != n || err != nil {
		s.t.Fatal(m, err)
	}
	s.rest = line[n:]
}

// TestFileReopenFails checks that the old file goes on where the path cannot be opened,
// and that this is told once.
func TestFileReopenFails(t *testing.T) {
	s := newScene(t, Rotation{})
	s.must("a\n")
	must(t, os.Rename(s.path, s.dir+"/old"))
	must(t, os.Mkdir(s.path, 0o700))
	for _, line := range []string{"b\n", "c\n", "d\n"} {
		s.file.Reopen()
		s.must(line)
		s.clock.pass(lookInterval)
		s.must()
	}
	want := "reopen: open " + s.path + ": is a directory; records go on to the file that was opened before"
	if len(s.notices) != 1 || s.notices[0] != want {
		t.Errorf("told %q, want once %q", s.notices, want)
	}
	must(t, os.Remove(s.path))
	s.clock.pass(lookInterval)
	s.must("e\n")
	s.wants(map[string]string{"old": "start start\na\nb\nc\nd\n", "out": "start reopen\ne\n"})
}

// TestFifo checks that a FIFO is opened without waiting for its reader, and that a
// reader that comes later begins with a whole line.
func TestFifo(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(dir+"/out", 0o600))
	s := newSceneAt(t, dir, dir+"/out", Rotation{Size: 1})
	s.put("a\n")
	err := s.run()
	if want := "open " + s.path + ": nobody reads this FIFO yet"; err == nil || err.Error() != want {
		t.Fatalf("without a reader: %v, want %s", err, want)
	}
	reader := openFifo(t, s.path)
	s.must()
	wantRead(t, reader, "start start\na\n")
	reader.Close()
	s.put("b\n")
	if err := s.run(); err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Fatalf("the reader is gone: %v", err)
	}
	reader = openFifo(t, s.path)
	defer reader.Close()
	s.must()
	wantRead(t, reader, "start reopen\nb\n")
	if !s.file.open.waits {
		t.Error("a Write to a FIFO would wait for ever")
	}
}

// TestFifoStalls checks that a Write comes back while a reader takes nothing.
func TestFifoStalls(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(dir+"/out", 0o600))
	reader := openFifo(t, dir+"/out")
	defer reader.Close()
	s := newSceneAt(t, dir, dir+"/out", Rotation{})
	s.put(strings.Repeat("x", 1<<20) + "\n")
	for range 5 { // it begins, and takes what fits
		if _, err := s.step(); err != nil {
			t.Fatal(err)
		}
	}
	if s.rest == "" || len(s.rest) == 1<<20+1 {
		t.Errorf("%d bytes are left of a line that a pipe cannot hold", len(s.rest))
	}
	got := make(chan int)
	go func() {
		n, buf := 0, make([]byte, 1<<16)
		for n < 12+1<<20+1 {
			m, err := reader.Read(buf)
			if n += m; err != nil {
				break
			}
		}
		got <- n
	}()
	s.must()
	if n := <-got; n != 12+1<<20+1 {
		t.Errorf("%d bytes arrived", n)
	}
}

// openFifo opens the reader's end without waiting for a writer.
func openFifo(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func wantRead(t *testing.T, from *os.File, want string) {
	t.Helper()
	must(t, from.SetReadDeadline(time.Now().Add(10*time.Second)))
	got := make([]byte, len(want)+100)
	n, err := from.Read(got)
	if err != nil || string(got[:n]) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFileDevice checks that a device does, which has neither size nor lock.
func TestFileDevice(t *testing.T) {
	for range 2 { // two at once
		s := newSceneAt(t, t.TempDir(), "/dev/null", Rotation{Size: 1, Age: lives})
		s.must(numbered(1, 10)...)
		s.clock.pass(time.Hour)
		s.must("a\n")
	}
	s := newSceneAt(t, t.TempDir(), "/dev/full", Rotation{})
	s.put("a\n")
	if err := s.run(); err == nil || err.Error() != "write /dev/full: no space left on device" {
		t.Errorf("/dev/full takes a line: %v", err)
	}
}
