package sink

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestRotateSize checks that a file is renamed before the line that would pass its
// size, and not earlier.
func TestRotateSize(t *testing.T) {
	s := newScene(t, Rotation{Size: 20})
	s.clock.pass(lives)
	s.must("12345678\n") // with the first line 21
	s.wants(map[string]string{"out.1": "start start\n", "out": "start rotate\n12345678\n"})
}

func TestRotateExactSize(t *testing.T) {
	s := newScene(t, Rotation{Size: 20})
	s.clock.pass(lives)
	s.must("1234567\n")
	s.wants(map[string]string{"out": "start start\n1234567\n"})
	s.must("a\n", "b\n")
	s.wants(map[string]string{"out.1": "start start\n1234567\n", "out": "start rotate\na\nb\n"})
}

// TestRotateSoft checks that a file lives 5 s however much comes.
func TestRotateSoft(t *testing.T) {
	s := newScene(t, Rotation{Size: 20, Keep: 2})
	s.must(numbered(1, 5)...)
	s.clock.pass(lives - time.Second)
	s.must(numbered(6, 9)...)
	first := "start start\n" + strings.Join(numbered(1, 9), "")
	s.wants(map[string]string{"out": first})
	s.clock.pass(time.Second)
	s.must("a\n")
	s.must(numbered(1, 5)...)
	s.wants(map[string]string{"out.1": first, "out": "start rotate\na\n" + strings.Join(numbered(1, 5), "")})
}

func TestRotateAge(t *testing.T) {
	s := newScene(t, Rotation{Age: time.Hour})
	s.must("a\n")
	s.clock.pass(time.Hour - time.Minute)
	s.must("b\n")
	s.wants(map[string]string{"out": "start start\na\nb\n"})
	s.clock.pass(time.Minute)
	s.must() // without a line
	s.wants(map[string]string{"out.1": "start start\na\nb\n", "out": "start rotate\n"})
}

func TestRotateKeep(t *testing.T) {
	s := newScene(t, Rotation{Age: time.Hour, Keep: 2})
	for _, line := range []string{"a\n", "b\n", "c\n", "d\n"} {
		s.must(line)
		s.clock.pass(time.Hour)
	}
	s.must("e\n")
	s.wants(map[string]string{"out": "start rotate\ne\n", "out.1": "start rotate\nd\n", "out.2": "start rotate\nc\n"})
}

// TestRotateStandardKeep checks how many are kept where nobody says it.
func TestRotateStandardKeep(t *testing.T) {
	s := newScene(t, Rotation{Age: time.Hour})
	for range 9 {
		s.must("a\n")
		s.clock.pass(time.Hour)
	}
	if files, _ := filepath.Glob(s.path + ".*"); len(files) != KeepStandard {
		t.Errorf("there are %q", files)
	}
}

// TestRotateGap checks that a rotation which a kill has cut short loses nothing, and
// that files of a run which kept more go when the room is needed.
func TestRotateGap(t *testing.T) {
	s := newScene(t, Rotation{Age: time.Hour, Keep: 3})
	write(t, s.path+".1", "one\n")
	write(t, s.path+".3", "three\n")
	s.must()
	s.clock.pass(time.Hour)
	s.must("a\n")
	s.wants(map[string]string{"out": "start rotate\na\n", "out.1": "start start\n", "out.2": "one\n", "out.3": "three\n"})
	write(t, s.path+".4", "four\n")
	write(t, s.path+".5.gz", "five\n")
	s.clock.pass(time.Hour)
	s.must("b\n")
	s.wants(map[string]string{"out": "start rotate\nb\n", "out.1": "start rotate\na\n", "out.2": "start start\n", "out.3": "one\n"})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// TestRotateEarlierRun checks that a file which was there before counts.
func TestRotateEarlierRun(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/out", "old\nhalf")
	s := &scene{dir: dir, path: dir + "/out"}
	s.clock.pass(lives)
	s.reopen(t, Rotation{Size: 10})
	s.must("a\n")
	s.wants(map[string]string{"out.1": "old\nhalf\n", "out": "start start\na\n"})
	if fmt.Sprint(s.begins) != "[start]" {
		t.Errorf("begins %v", s.begins)
	}
}

// TestRotateEarlierAge takes the age of a file from the file system.
func TestRotateEarlierAge(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/out", "old\n")
	s := &scene{dir: dir, path: dir + "/out"}
	s.clock.pass(2 * time.Hour)
	s.reopen(t, Rotation{Age: time.Hour})
	if s.file.open.born.After(time.Now()) {
		t.Skip("this file system does not know when a file was made")
	}
	if born := s.file.open.born.String(); !strings.Contains(born, " m=") {
		t.Errorf("it was made at %s by the wall clock, which may be set", born)
	}
	s.must("a\n")
	s.wants(map[string]string{"out.1": "old\n", "out": "start start\na\n"})
}

// TestRotateAfterRename checks that a file which another program has renamed is not
// counted as ours, and what stands in its place is not renamed.
func TestRotateAfterRename(t *testing.T) {
	s := newScene(t, Rotation{Size: 20})
	s.clock.pass(lives)
	s.must()
	s.file.looked = s.clock.now() // so that the rotation has to find it out
	must(t, os.Rename(s.path, s.path+".1"))
	s.must("12345678\n")
	s.wants(map[string]string{"out.1": "start start\n", "out": "start reopen\n12345678\n"})
	s.clock.pass(lives)
	s.file.looked = s.clock.now()
	must(t, os.Rename(s.path, s.path+".2"))
	must(t, os.Mkdir(s.path, 0o700))
	s.must("a\n")
	if st, err := os.Stat(s.path); err != nil || !st.IsDir() {
		t.Errorf("what stood in the file's place was renamed: %v", err)
	}
	if text, err := os.ReadFile(s.path + ".2"); err != nil || string(text) != "start reopen\n12345678\na\n" {
		t.Errorf("the file that goes on has %q, %v", text, err)
	}
}

// TestRotateThroughLink checks that the file is renamed, not the link to it.
func TestRotateThroughLink(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	must(t, os.Symlink(dir+"/out", other+"/link"))
	s := newSceneAt(t, dir, other+"/link", Rotation{Age: time.Hour})
	s.must("a\n")
	s.clock.pass(time.Hour)
	s.must("b\n")
	s.wants(map[string]string{"out.1": "start start\na\n", "out": "start rotate\nb\n"})
}

// TestRotateFails checks that a file grows on where it cannot be renamed, that this is
// told once, and that it is tried again.
func TestRotateFails(t *testing.T) {
	s := newScene(t, Rotation{Size: 20, Keep: 1})
	must(t, os.MkdirAll(s.path+".1/full", 0o700)) // cannot be removed
	for _, line := range []string{"12345678\n", "b\n", "c\n"} {
		s.clock.pass(lives)
		s.must(line)
	}
	want := "rotate: remove " + s.path + ".1: directory not empty; the file grows on"
	if len(s.notices) != 1 || s.notices[0] != want {
		t.Errorf("told %q, want once %q", s.notices, want)
	}
	must(t, os.RemoveAll(s.path+".1"))
	s.clock.pass(lives)
	s.must("d\n")
	s.wants(map[string]string{"out.1": "start start\n12345678\nb\nc\n", "out": "start rotate\nd\n"})
}

// TestRotateOpenFails checks that nothing is written to a file after its rename, even
// where the next one cannot be opened.
func TestRotateOpenFails(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	must(t, os.Symlink(dir+"/out", other+"/link"))
	s := newSceneAt(t, dir, other+"/link", Rotation{Size: 20})
	s.must()
	s.clock.pass(lives)
	must(t, os.Chmod(dir, 0o700))
	restore := blockOpen(t)
	s.put("12345678\n")
	err := s.run()
	restore()
	if err == nil || !strings.Contains(err.Error(), "too many open files") {
		t.Fatalf("without descriptors: %v", err)
	}
	s.wants(map[string]string{"out.1": "start start\n"})
	s.must()
	s.wants(map[string]string{"out.1": "start start\n", "out": "start rotate\n12345678\n"})
}

// TestRotateWhole writes lines at full speed over rotations, renames and truncations
// that lose nothing, and checks that each line arrives once and whole, in order.
func TestRotateWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "rotate")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		s := &scene{dir: dir, path: dir + "/out"}
		r := Rotation{
			Size: rapid.Int64Range(0, 600).Draw(rt, "size"), Keep: 100,
			Age:      time.Duration(rapid.IntRange(0, 20).Draw(rt, "age")) * time.Second,
			Compress: rapid.Bool().Draw(rt, "compress"),
		}
		s.reopen(t, r)
		lines, renamed := 0, 0
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0:
				s.clock.pass(time.Duration(rapid.IntRange(0, 9).Draw(rt, "seconds")) * time.Second)
			case 1:
				renamed++
				s.must()
				must(t, os.Rename(s.path, fmt.Sprintf("%s/moved%d", dir, renamed)))
				s.file.Reopen()
				s.must() // a path that leads nowhere is no file that can be renamed
			case 2:
				s.must()
				must(t, s.file.Close())
				s.reopen(t, r)
			default:
				n := rapid.IntRange(1, 12).Draw(rt, "lines")
				s.must(numbered(lines+1, lines+n)...)
				lines += n
			}
		}
		s.must()
		must(t, s.file.Close())
		if len(s.notices) > 0 {
			rt.Errorf("told %q", s.notices)
		}
		wantWhole(rt, dir, lines, 0)
	})
}

// wantWhole checks that the files of a directory have the lines 1 to n, each once, and
// each file its first line. A file may end with a part of a line, so often at most.
func wantWhole(t rapid.TB, dir string, n, torn int) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range entries {
		text := readPlain(t, dir+"/"+e.Name())
		if whole := strings.LastIndexByte(text, '\n') + 1; whole < len(text) || text == "" {
			text = text[:whole]
			torn--
		}
		if torn < 0 || !strings.HasPrefix(text, "start ") && text != "" {
			t.Errorf("%s begins with %.20q and ends with %q", e.Name(), text, text[max(0, len(text)-20):])
		}
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "start ") {
				lines = append(lines, line)
			}
		}
	}
	want := numbered(1, n)
	slices.Sort(lines)
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		t.Errorf("%d lines arrived of %d, or not those", len(lines), len(want))
	}
}

// readPlain reads a file, compressed or not.
func readPlain(t rapid.TB, path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, packedSuffix) {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if data, err = io.ReadAll(z); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return string(data)
}

// TestFileFullWhole fills the disk and makes room at random, amidst rotations and
// renames, and checks that each line arrives once and whole. Where a file was left
// while a line of it could not be finished, the part of it stays there.
func TestFileFullWhole(t *testing.T) {
	disk := t.TempDir()
	mount(t, disk, 0, "size=256k")
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := fmt.Sprintf("%s/%d", disk, runs)
		must(t, os.Mkdir(dir, 0o700))
		defer os.RemoveAll(dir)
		s := &scene{dir: dir, path: dir + "/out"}
		s.reopen(t, Rotation{Size: rapid.Int64Range(0, 30_000).Draw(rt, "size"), Keep: 100})
		lines, renamed, failed := 0, 0, 0
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 6).Draw(rt, "step") {
			case 0:
				s.clock.pass(time.Duration(rapid.IntRange(0, 9).Draw(rt, "seconds")) * time.Second)
			case 1:
				if s.run() == nil || exists(s.path) {
					renamed++
					must(t, os.Rename(s.path, fmt.Sprintf("%s/moved%d", dir, renamed)))
					s.file.Reopen()
				}
			case 2, 3:
				ballast(t, disk, rapid.IntRange(0, 4).Draw(rt, "pages"))
			case 4:
				ballast(t, disk, 1000)
			default:
				n := rapid.IntRange(1, 100).Draw(rt, "lines")
				s.put(numbered(lines+1, lines+n)...)
				lines += n
			}
			if err := s.run(); err != nil {
				failed++
				if !errors.Is(err, unix.ENOSPC) {
					rt.Fatal(err)
				}
			}
		}
		ballast(t, disk, 1000)
		s.must()
		must(t, s.file.Close())
		wantWhole(rt, dir, lines, failed)
	})
}

// ballast leaves so many pages of a disk free, or all that there are.
func ballast(t *testing.T, disk string, pages int) {
	t.Helper()
	f, err := os.Create(disk + "/ballast")
	must(t, err)
	defer f.Close()
	var st unix.Statfs_t
	must(t, unix.Fstatfs(int(f.Fd()), &st))
	if n := int(st.Bfree) - pages; n > 0 {
		_, err = f.Write(make([]byte, n*int(st.Bsize)))
		must(t, err)
	}
}
