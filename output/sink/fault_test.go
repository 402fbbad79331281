package sink

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stage is a Sink before a real place, with what it tells.
type stage struct {
	t    *testing.T
	sink *Sink
	sent int

	mu      sync.Mutex
	notices []string
}

// newStage starts a Sink before what a spec names.
func newStage(t *testing.T, spec string) *stage {
	t.Helper()
	s := &stage{t: t}
	place, err := ParseSpec(spec, new(Spec))
	if err != nil {
		t.Fatal(err)
	}
	target, err := Open(&place, s.notice)
	if err != nil {
		t.Fatal(err)
	}
	s.sink = New(target, Options{Place: place.String(), Notice: s.notice})
	s.sink.Start(reports{})
	return s
}

func (s *stage) notice(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notices = append(s.notices, text)
}

// send makes n lines, about a quarter of a kilobyte each.
func (s *stage) send(n int) {
	for range n {
		s.sent++
		if s.sink.Admit(Close) {
			fmt.Fprintf(s.sink, "\x00 line %d %s\n", s.sent, strings.Repeat("x", 240))
		}
	}
}

// until waits for something.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s has not happened", what)
		}
	}
}

// told waits for a notice with a text in it.
func (s *stage) told(text string) {
	s.t.Helper()
	until(s.t, "the notice "+text, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, n := range s.notices {
			if strings.Contains(n, text) {
				return true
			}
		}
		return false
	})
}

// idle waits until all lines are written.
func (s *stage) idle() {
	s.t.Helper()
	until(s.t, "the end of the queue", func() bool { return s.sink.Stats().Queue.Records == 0 })
}

// end drains the Sink.
func (s *stage) end() {
	s.t.Helper()
	if err := s.drain(time.Minute); err != nil {
		s.t.Error(err)
	}
}

// drain is Drain within a time.
func (s *stage) drain(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return s.sink.Drain(ctx)
}

// count wants so many notices in all.
func (s *stage) count(n int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.notices) != n {
		s.t.Errorf("%d notices, want %d: %q", len(s.notices), n, s.notices)
	}
}

// judge reads texts of files or connections, in their order, and checks that each line
// is there once and whole and that each begins with a head. torn is how many have a
// last line that was cut, and written anew afterwards.
func (s *stage) judge(torn int, texts ...string) {
	s.t.Helper()
	seq, line, cut := 0, 0, 0
	for i, text := range texts {
		for part := range strings.Lines(text) {
			if !strings.HasSuffix(part, "\n") {
				cut++
				continue
			}
			var number, n int
			var kind, rest string
			if _, err := fmt.Sscan(part, &number, &kind, &rest); err != nil {
				s.t.Fatalf("text %d: line %q: %v", i, part, err)
			}
			if seq++; number != seq {
				s.t.Fatalf("text %d: number %d follows %d", i, number, seq-1)
			}
			if kind == "head" {
				continue
			}
			if _, err := fmt.Sscan(rest, &n); err != nil || n != line+1 {
				s.t.Fatalf("text %d: line %d follows %d", i, n, line)
			}
			line++
		}
		if !strings.Contains(strings.SplitN(text, "\n", 2)[0], " head ") {
			s.t.Errorf("text %d begins with %.40q", i, text)
		}
	}
	if line != s.sent || cut != torn {
		s.t.Errorf("%d of %d lines came, and %d parts of lines, want %d", line, s.sent, cut, torn)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// mount mounts a tmpfs for the time of the test. It needs a privileged user.
func mount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	err := unix.Mount("tmpfs", dir, "tmpfs", flags, options)
	if err != nil {
		t.Skip("mounting a tmpfs needs root: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// TestFullDisk fills a disk. All waits in the queue, one line tells it, and when there
// is room the line that was begun is finished where it was begun.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mount(t, dir, 0, "size=256k")
	write(t, dir+"/ballast", strings.Repeat("x", 128<<10))
	s := newStage(t, dir+"/out")
	s.send(2000) // half a megabyte
	s.told("write " + dir + "/out: no space left on device; it is tried again")
	s.send(100)
	until(t, "a second error", func() bool { return s.sink.Stats().Written.Errors >= 2 })
	s.count(1)
	if errno := s.sink.Stats().Written.ByErrno; len(errno) != 1 || errno[0].Errno != unix.ENOSPC {
		t.Errorf("errors by number: %v", errno)
	}
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=16m"))
	s.told(dir + "/out works again")
	s.end()
	s.judge(0, read(t, dir+"/out"))
	s.count(2)
}

// TestFullDiskEnd checks the end of a run while the disk is full.
func TestFullDiskEnd(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, 0, "size=64k")
	s := newStage(t, dir+"/out")
	s.send(2000)
	s.told("no space left on device")
	err := s.drain(100 * time.Millisecond)
	if want := " records could not be delivered before the end"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("the end: %v, want what was not delivered", err)
	}
}

// TestFileSizeLimit runs in a process of its own, as the limit holds for all of it.
func TestFileSizeLimit(t *testing.T) {
	if path := os.Getenv("SINK_LIMITED_FILE"); path != "" {
		limited(t, path)
		return
	}
	path := t.TempDir() + "/out"
	cmd := exec.Command(os.Args[0], "-test.run=^TestFileSizeLimit$", "-test.v")
	cmd.Env = append(os.Environ(), "SINK_LIMITED_FILE="+path)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// limited writes more than a file may have, whose signal (SIGXFSZ) must not kill. The
// limit ends with a rename by another program.
func limited(t *testing.T, path string) {
	const limit = 100_000
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}))
	s := newStage(t, path)
	s.send(600)
	s.told("write " + path + ": file too large")
	must(t, os.Rename(path, path+".1"))
	s.sink.Reopen()
	s.told(path + " works again")
	s.end()
	s.judge(1, read(t, path+".1"), read(t, path))
}

// TestVanishedMount takes the file system away from under the file, which goes on in
// what is there then.
func TestVanishedMount(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mount(t, dir, 0, "")
	s := newStage(t, dir+"/out")
	s.send(10)
	s.idle()
	old, err := os.Open(dir + "/out")
	must(t, err)
	defer old.Close()
	must(t, unix.Unmount(dir, unix.MNT_DETACH))
	until(t, "the new file", func() bool { return exists(dir + "/out") })
	s.send(10)
	s.end()
	first := make([]byte, 1<<16)
	n, _ := old.Read(first)
	s.judge(0, string(first[:n]), read(t, dir+"/out"))
	s.count(0)
}

// TestVanishedDirectory takes the directory away, too: the open file goes on until it
// is there again.
func TestVanishedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/dir"
	must(t, os.Mkdir(dir, 0o700))
	s := newStage(t, dir+"/out")
	s.send(10)
	s.idle()
	old, err := os.Open(dir + "/out")
	must(t, err)
	defer old.Close()
	must(t, os.RemoveAll(dir))
	s.told("reopen: open " + dir + "/out: no such file or directory (its directory " + dir + " is missing); records go on to the file that was opened before")
	s.send(10)
	s.idle()
	must(t, os.Mkdir(dir, 0o700))
	until(t, "the new file", func() bool { return exists(dir + "/out") })
	s.send(10)
	s.end()
	first := make([]byte, 1<<16)
	n, _ := old.Read(first)
	s.judge(0, string(first[:n]), read(t, dir+"/out"))
	s.count(1)
}

// TestReadOnly mounts something that cannot be written over the directory, and takes it
// away again.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStage(t, dir+"/out")
	s.send(10)
	s.idle()
	mount(t, dir, unix.MS_RDONLY, "")
	if _, err := Open(&Spec{Place: dir + "/out"}, nil); err == nil || err.Error() != "open "+dir+"/out: read-only file system" {
		t.Errorf("at the start: %v", err)
	}
	s.told("reopen: open " + dir + "/out: read-only file system; records go on to the file that was opened before")
	s.send(10)
	s.idle()
	must(t, unix.Unmount(dir, 0))
	s.send(10)
	s.end()
	s.judge(0, read(t, dir+"/out"))
	s.count(1)
}

// TestReopenAtOnce checks that Reopen does not wait for the look of each second, also
// where no line comes.
func TestReopenAtOnce(t *testing.T) {
	dir := t.TempDir()
	s := newStage(t, dir+"/out")
	s.send(1)
	s.idle()
	texts := make([]string, 0, 30)
	for i := range 30 {
		name := fmt.Sprintf("%s/out.%d", dir, i)
		must(t, os.Rename(dir+"/out", name))
		s.sink.Reopen()
		until(t, "the new file", func() bool { return exists(dir + "/out") })
		s.send(1)
		s.idle()
		texts = append(texts, read(t, name))
	}
	s.end()
	s.judge(0, append(texts, read(t, dir+"/out"))...)
}

// TestLogrotate has the real logrotate rename, compress and signal, as the shipped
// configuration does, while lines are written.
func TestLogrotate(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("logrotate")
	if err != nil {
		tool, err = exec.LookPath("/usr/sbin/logrotate")
	}
	if err != nil {
		t.Skip("logrotate is not installed")
	}
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	s := newStage(t, dir+"/out")
	// The signal, which is not this package's, is a file that this test waits for.
	write(t, dir+"/conf", dir+"/out {\nrotate 9\ncreate 0640\ncompress\ndelaycompress\nmissingok\npostrotate\ntouch "+dir+"/signal\nendscript\n}\n")
	must(t, os.Chmod(dir+"/conf", 0o600))
	for range 3 {
		s.send(500)
		s.idle()
		if out, err := exec.Command(tool, "--force", "--state", dir+"/state", dir+"/conf").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s.send(500) // to the renamed file
		until(t, "the signal", func() bool { return os.Remove(dir+"/signal") == nil })
		s.sink.Reopen()
	}
	s.send(500)
	s.end()
	s.judge(0, readPlain(t, dir+"/out.3.gz"), readPlain(t, dir+"/out.2.gz"), read(t, dir+"/out.1"), read(t, dir+"/out"))
}

// TestRotateAtFullSpeed rotates a file by its size while lines come as fast as they can
// be made.
func TestRotateAtFullSpeed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("files live 5 s")
	}
	dir := t.TempDir()
	s := newStage(t, dir+"/out,rotate-size=1M")
	for !exists(dir + "/out.1") {
		s.send(200)
		time.Sleep(5 * time.Millisecond)
	}
	s.end()
	s.judge(0, read(t, dir+"/out.1"), read(t, dir+"/out"))
	if first, _, _ := strings.Cut(read(t, dir+"/out"), "\n"); !strings.Contains(first, " head rotate 2") {
		t.Errorf("the second file begins with %q", first)
	}
	s.count(0)
}
