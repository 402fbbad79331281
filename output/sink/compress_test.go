package sink

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCompress checks that FILE.2 and older are compressed, with their mode and time,
// and FILE.1 is not.
func TestCompress(t *testing.T) {
	s := newScene(t, Rotation{Age: time.Hour, Keep: 3, Compress: true})
	for _, line := range []string{"a\n", "b\n", "c\n"} {
		s.must(line)
		s.clock.pass(time.Hour)
	}
	past := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	must(t, os.Chmod(s.path+".1", 0o604))
	must(t, os.Chtimes(s.path+".1", past, past))
	s.must("d\n")
	s.packed()
	wantNames(t, s.dir, "out", "out.1", "out.2.gz", "out.3.gz")
	for name, want := range map[string]string{"out.3.gz": "start start\na\n", "out.2.gz": "start rotate\nb\n", "out.1": "start rotate\nc\n"} {
		if got := readPlain(t, s.dir+"/"+name); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	st, err := os.Stat(s.dir + "/out.2.gz")
	if err != nil || st.Mode() != 0o604 || !st.ModTime().Equal(past) {
		t.Errorf("%v %v, %v, want mode 0604 and the time of the file", st.Mode(), st.ModTime(), err)
	}
	s.clock.pass(time.Hour)
	s.must("e\n")
	s.packed()
	if got := readPlain(t, s.dir+"/out.3.gz"); got != "start rotate\nb\n" {
		t.Errorf("compressed files do not move on: the oldest has %q", got)
	}
}

// packed waits until there is nothing to compress.
func (s *scene) packed() { s.file.shelf.packer.run.Wait() }

// wantNames compares the names in a directory.
func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("there are %q, want %q", names, want)
	}
}

// TestCompressAfterKill checks that what a killed run has left is brought in order: a
// draft goes, and a file whose compressed form is there, too.
func TestCompressAfterKill(t *testing.T) {
	s := newScene(t, Rotation{})
	must(t, s.file.Close())
	write(t, s.dir+"/.out.gz.draft", "half")
	for _, name := range []string{".2", ".3", ".4"} {
		write(t, s.path+name, "text of "+name+"\n")
	}
	r := Rotation{Age: time.Hour, Keep: 4, Compress: true}
	s.reopen(t, r)
	s.packed()
	wantNames(t, s.dir, "out", "out.2.gz", "out.3.gz", "out.4.gz")
	must(t, s.file.Close())
	write(t, s.path+".3", "text of .3\n") // it was compressed and not removed
	write(t, s.dir+"/.out.gz.draft", "half")
	s.reopen(t, Rotation{Age: time.Hour, Keep: 4}) // compression is off now
	wantNames(t, s.dir, ".out.gz.draft", "out", "out.2.gz", "out.3.gz", "out.4.gz")
	if got := readPlain(t, s.path+".3.gz"); got != "text of .3\n" {
		t.Errorf("FILE.3.gz has %q", got)
	}
}

// TestCompressMeanwhile checks that a file which is renamed again or removed while it
// is compressed is found, and that nobody waits for it.
func TestCompressMeanwhile(t *testing.T) {
	s := newScene(t, Rotation{Age: time.Hour, Keep: 4, Compress: true})
	shelf := s.file.shelf
	write(t, s.path+".2", "two\n")
	st, err := os.Stat(s.path + ".2")
	must(t, err)
	write(t, shelf.packer.draft, "packed")
	must(t, os.Rename(s.path+".2", s.path+".4"))
	must(t, shelf.packer.replace(st))
	s.wants(map[string]string{"out": "", "out.4.gz": "packed"})
	write(t, shelf.packer.draft, "packed")
	must(t, shelf.packer.replace(st))
	s.wants(map[string]string{"out": "", "out.4.gz": "packed"})
}

// TestCompressFails checks that a file which cannot be compressed stays, and that this
// is told once.
func TestCompressFails(t *testing.T) {
	s := newScene(t, Rotation{Age: time.Hour, Keep: 3, Compress: true})
	must(t, os.MkdirAll(s.file.shelf.packer.draft+"/full", 0o700))
	for _, line := range []string{"a\n", "b\n", "c\n", "d\n"} {
		s.must(line)
		s.packed()
		s.clock.pass(time.Hour)
	}
	wantNames(t, s.dir, ".out.gz.draft", "out", "out.1", "out.2", "out.3")
	if len(s.notices) != 1 || !strings.HasPrefix(s.notices[0], "compress "+s.path+".2: open "+s.dir+"/.out.gz.draft: ") {
		t.Errorf("told %q, want one line", s.notices)
	}
	must(t, os.RemoveAll(s.file.shelf.packer.draft))
	s.must("e\n")
	s.packed()
	wantNames(t, s.dir, "out", "out.1", "out.2.gz", "out.3.gz")
}

// TestCompressOthers checks that what cannot be compressed is not in the way of others,
// and that nothing is followed that another user has put in the place of a file.
func TestCompressOthers(t *testing.T) {
	s := newScene(t, Rotation{})
	must(t, s.file.Close())
	victim := t.TempDir() + "/victim"
	write(t, victim, "secret\n")
	must(t, os.Symlink(victim, s.path+".2"))
	must(t, unix.Mkfifo(s.path+".3", 0o600))
	must(t, os.Symlink(victim, s.dir+"/.out.gz.draft"))
	write(t, s.path+".4", "four\n")
	s.reopen(t, Rotation{Age: time.Hour, Keep: 4, Compress: true})
	s.packed()
	wantNames(t, s.dir, "out", "out.2", "out.3", "out.4.gz")
	if got := readPlain(t, s.path+".4.gz"); got != "four\n" {
		t.Errorf("FILE.4.gz has %q", got)
	}
	if got := read(t, victim); got != "secret\n" {
		t.Errorf("what a link leads to has %q", got)
	}
	want := "compress " + s.path + ".2: open " + s.path + ".2: too many levels of symbolic links; it stays as it is until the next rotation"
	if len(s.notices) != 1 || s.notices[0] != want {
		t.Errorf("told %q, want once %q", s.notices, want)
	}
}

// TestCompressEnds checks that the end of a run does not wait for what is being
// compressed, and leaves no draft.
func TestCompressEnds(t *testing.T) {
	s := newScene(t, Rotation{Age: time.Hour, Keep: 3, Compress: true})
	s.file.shelf.packer.ending.Store(true)
	write(t, s.path+".2", strings.Repeat("x", 1<<20))
	f, err := os.Open(s.path + ".2")
	must(t, err)
	if err := s.file.shelf.packer.pack(f); !errors.Is(err, errEnding) {
		t.Errorf("packed in spite of the end: %v", err)
	}
	s.file.shelf.packer.fail("x", errEnding)
	must(t, s.file.Close())
	if files, _ := filepath.Glob(s.dir + "/.*"); len(files) != 0 {
		t.Errorf("left %q", files)
	}
	if len(s.notices) > 0 {
		t.Errorf("told %q", s.notices)
	}
}

// TestCompressLowest checks that compressing takes only what no other wants of the
// processor and the disk.
func TestCompressLowest(t *testing.T) {
	for range 20 { // whichever thread is at hand
		below(func() {
			// The system call returns 20 less the nice value: getpriority(2).
			if nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || nice != 20-19 {
				t.Errorf("nice value %d, %v", 20-nice, err)
			}
			const who, idle = 1, 3 // IOPRIO_WHO_PROCESS, IOPRIO_CLASS_IDLE
			if prio, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, who, 0, 0); errno != 0 || prio>>13 != idle {
				t.Errorf("I/O priority %#x, %v", prio, errno)
			}
		})
	}
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, os.Getpid()); err != nil || nice == 20-19 {
		t.Errorf("the process has nice value %d, %v", 20-nice, err)
	}
}
