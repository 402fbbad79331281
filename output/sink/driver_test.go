package sink

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// driver offers lines to a Target as a Sink does, one call at a time.
type driver struct {
	t      *testing.T
	target Target
	lines  []string // that wait
	rest   string   // of the first one, which the target has a part of
	begins []Begin
}

// put has lines wait.
func (d *driver) put(lines ...string) { d.lines = append(d.lines, lines...) }

// must writes lines, which has to succeed.
func (d *driver) must(lines ...string) {
	d.t.Helper()
	d.put(lines...)
	if err := d.run(); err != nil {
		d.t.Fatal(err)
	}
}

// run writes what waits, until the first error.
func (d *driver) run() error {
	for tries := 0; ; tries++ {
		if tries > 1_000_000 {
			d.t.Fatal("the target neither takes lines nor fails")
		}
		if more, err := d.step(); err != nil || !more {
			return err
		}
	}
}

func (d *driver) step() (more bool, err error) {
	next := len(d.rest)
	if next == 0 && len(d.lines) > 0 {
		next = len(d.lines[0])
	}
	why, err := d.target.Ready(next)
	if err != nil {
		return false, err
	}
	if why != Goes {
		d.begins = append(d.begins, why)
		d.rest = ""
		d.lines = append([]string{"start " + string(why) + "\n"}, d.lines...)
		return true, nil
	}
	if next == 0 {
		return false, nil
	}
	return true, d.write()
}

// write writes what has room: the rest of a line, or some lines, one at least.
func (d *driver) write() error {
	if d.rest != "" {
		if room := d.target.Room(); room < len(d.rest) {
			d.t.Fatalf("room for %d bytes of a rest of %d", room, len(d.rest))
		}
		n, err := d.target.Write([]byte(d.rest))
		if d.rest = d.rest[n:]; d.rest == "" {
			d.lines = d.lines[1:]
		}
		return err
	}
	out := ""
	for i, line := range d.lines {
		if i > 0 && len(out)+len(line) > d.target.Room() {
			break
		}
		out += line
	}
	n, err := d.target.Write([]byte(out))
	for n > 0 {
		if n < len(d.lines[0]) {
			d.rest = d.lines[0][n:]
			break
		}
		n -= len(d.lines[0])
		d.lines = d.lines[1:]
	}
	return err
}

// fakeClock is a clock that a test moves.
type fakeClock struct{ ahead time.Duration }

func (c *fakeClock) now() time.Time { return time.Now().Add(c.ahead) }

func (c *fakeClock) pass(d time.Duration) { c.ahead += d }

// scene is a file target with what is around it.
type scene struct {
	*driver
	clock   fakeClock
	dir     string
	path    string
	file    *file
	notices []string
}

// newScene opens a file in a directory of the test's own.
func newScene(t *testing.T, r Rotation) *scene {
	t.Helper()
	dir := t.TempDir()
	return newSceneAt(t, dir, dir+"/out", r)
}

func newSceneAt(t *testing.T, dir, path string, r Rotation) *scene {
	t.Helper()
	s := &scene{dir: dir, path: path}
	s.reopen(t, r)
	return s
}

// reopen begins another run with the file.
func (s *scene) reopen(t *testing.T, r Rotation) {
	t.Helper()
	f, err := openFileAt(s.path, r, func(text string) { s.notices = append(s.notices, text) }, s.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s.file, s.driver = f, &driver{t: t, target: f}
}

// wants compares files of the directory with what they should have in them.
func (s *scene) wants(files map[string]string) {
	s.t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := files[e.Name()]; !ok {
			s.t.Errorf("there is a file %s", e.Name())
		}
	}
	for name, want := range files {
		got, err := os.ReadFile(s.dir + "/" + name)
		if err != nil || string(got) != want {
			s.t.Errorf("%s has %q, %v, want %q", name, got, err, want)
		}
	}
}

// numbered returns lines with consecutive numbers.
func numbered(from, to int) []string {
	var lines []string
	for n := from; n <= to; n++ {
		lines = append(lines, fmt.Sprintf("line %d %s\n", n, strings.Repeat("x", n%90)))
	}
	return lines
}
