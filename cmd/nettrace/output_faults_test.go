package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/faultfs"
)

// The test starts its own binary again to serve a file system that fails.
func init() { faultfs.Main() }

// TestOutputDiskErrors has the disk fail amidst a line, and work again: a line tells each,
// everything arrives once and whole, and the status is 0.
func TestOutputDiskErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.EIO, unix.EDQUOT} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			dir := t.TempDir()
			fs := faultfs.Mount(t, dir)
			path := dir + "/out"
			s := ship(t, path)
			s.until("the start", func() bool { return strings.Contains(fs.Read("out"), `"snapshot_end"`) })
			fs.Fail(faultfs.Write, errno, 1000)
			s.connect(500)
			told := "nettrace: write " + path + ": " + errno.Error() + "; it is tried again, and records wait in the queue\n"
			s.until("the message", func() bool { return strings.Contains(s.stderr.String(), told) })
			s.connect(500)
			fs.Works()
			s.until("the recovery", func() bool { return strings.Contains(s.stderr.String(), "nettrace: "+path+" works again after ") })
			s.stop(2)
			s.judge([][]byte{[]byte(fs.Read("out"))}, "start")
		})
	}
}

// TestOutputDiskErrorAtEnd ends a run while the disk fails: the status is 1, the message says
// how many records are missing, and what is there is whole.
func TestOutputDiskErrorAtEnd(t *testing.T) {
	dir := t.TempDir()
	fs := faultfs.Mount(t, dir)
	s := ship(t, dir+"/out")
	s.until("the start", func() bool { return strings.Contains(fs.Read("out"), `"snapshot_end"`) })
	written := fs.Read("out")
	fs.Fail(faultfs.Write, unix.EIO, 0)
	s.connect(100)
	s.until("the message", func() bool { return strings.Contains(s.stderr.String(), "input/output error; it is tried again") })
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait() // the status is looked at
	errs := s.stderr.String()
	if status := s.cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(errs, dir+"/out: ") || !strings.Contains(errs, " records could not be delivered before the end\n") {
		t.Errorf("status %d, stderr %q", status, errs)
	}
	if text := fs.Read("out"); text != written || !strings.HasSuffix(text, "\n") {
		t.Errorf("the file had %d bytes and has %d", len(written), len(text))
	}
}

// TestStreamClockSteps sets the clock forward and back, and has a file that an earlier run
// has begun: it is as old as it is, and each record has the date of its time.
func TestStreamClockSteps(t *testing.T) {
	if !inMachine {
		t.Skip("sets the clock: for the machines of make test-kernels")
	}
	const earlier = "{}\n"
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, []byte(earlier), 0o600); err != nil {
		t.Fatal(err)
	}
	s := ship(t, path+",rotate-age=1h,rotate-size=1M")
	s.until("the start", has(path, `"snapshot_end"`))
	s.connectDated(path)
	setClock(t, 2*time.Hour)
	s.connectDated(path)
	if _, err := os.Stat(path + ".1"); err == nil {
		t.Error("the file was rotated when the clock was set forward")
	}
	setClock(t, -3*time.Hour)
	s.connectDated(path)
	s.until("the rotation by size", func() bool {
		s.connect(500)
		return has(path, `"rotate"`)()
	})
	s.stop(0)
	texts := s.read(path+".1", path)
	texts[0] = bytes.TrimPrefix(texts[0], []byte(earlier))
	s.judge(texts, "start", "rotate")
}

// connectDated makes connections and checks the dates of their ends.
func (s *shipped) connectDated(path string) {
	s.t.Helper()
	before, had := time.Now(), s.closes(path)
	s.connect(100)
	s.until("the records", func() bool { return len(s.closes(path)) == s.conns })
	after := time.Now()
	for _, at := range s.closes(path)[len(had):] {
		if at.Before(before.Round(0)) || at.After(after.Round(0)) {
			s.t.Errorf("a connection of %v to %v ended at %v", before, after, at)
		}
	}
}

// closes returns when connections ended, as a file has it.
func (s *shipped) closes(path string) (at []time.Time) {
	s.t.Helper()
	text := s.read(path)[0]
	for line := range bytes.Lines(text[:bytes.LastIndexByte(text, '\n')+1]) {
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		if r.Event == "tcp_close" {
			at = append(at, r.Timestamp)
		}
	}
	return at
}

// setClock sets the clock of the machine, until the test ends.
func setClock(t *testing.T, step time.Duration) {
	t.Helper()
	set := func(step time.Duration) {
		ts := unix.NsecToTimespec(time.Now().Add(step).UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
			t.Fatal(err)
		}
	}
	set(step)
	t.Cleanup(func() { set(-step) })
}
