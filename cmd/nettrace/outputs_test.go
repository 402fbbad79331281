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

	"github.com/nettrace/nettrace/internal/load"
)

// fileRecords reads the records of files, in the order of their names here.
func fileRecords(t *testing.T, paths ...string) []lossRecord {
	t.Helper()
	var all []lossRecord
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var r lossRecord
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatalf("%s: %v: %q", path, err, line)
			}
			all = append(all, r)
		}
	}
	return all
}

// TestOutputsReaderDies has the reader of stdout go away: what waits for a file is
// written, and the run ends as it does without the file.
func TestOutputsReaderDies(t *testing.T) {
	netns := newNetns(t)
	file := filepath.Join(t.TempDir(), "records")
	p := pipe(t, queueArgs(netns, "--output", "-", "--output", file+",events=close")...)
	_ = p.in.Close()
	runLoad(t, load.Client(1, 100, load.Refused), netns)
	if status := p.wait(); status != 141 || p.stderr.String() != "" {
		t.Errorf("status %d; stderr: %s", status, p.stderr.String())
	}
	records := fileRecords(t, file)
	if last := records[len(records)-1]; last.Event != "stop" || last.Reason != "epipe" {
		t.Errorf("the file ends with %+v", last)
	}
	count(t, records) // their numbers
}

// TestOutputsUnderLoad rotates by rename and SIGHUP while connections are made: each
// record is there once, in the files and on stdout, and each file begins with a start
// record.
func TestOutputsUnderLoad(t *testing.T) {
	netns := newNetns(t)
	file := filepath.Join(t.TempDir(), "records")
	p := pipe(t, queueArgs(netns, "--queue-bytes", "64M", "--output", file, "--output", "-,events=close,fields=outcome")...)
	const connections = 6000
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		runLoad(t, load.Client(1, connections, load.Refused), netns)
	}()
	files := []string{file}
	for n := range 3 {
		time.Sleep(50 * time.Millisecond)
		old := file + "." + string(rune('a'+n))
		if err := os.Rename(file, old); err != nil {
			t.Fatal(err)
		}
		files = append(files[:len(files)-1], old, file)
		p.signal(syscall.SIGHUP)
		for range 3000 {
			if _, err := os.Stat(file); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	<-loaded
	p.signal(syscall.SIGTERM)
	closes := count(t, p.records(toTheEnd))
	if status := p.wait(); status != 0 || p.stderr.String() != "" {
		t.Errorf("status %d; stderr: %s", status, p.stderr.String())
	}
	records := fileRecords(t, files...)
	sum := count(t, records)
	if sum.states != connections*refusedStates || sum.closes != connections || closes.closes != connections || closes.states > 0 {
		t.Errorf("the file has %+v, stdout %+v", sum, closes)
	}
	var begins []string
	for _, r := range records {
		if r.Event == "start" {
			begins = append(begins, r.Reason)
			if r.FileSeq != len(begins) {
				t.Errorf("file %d says it is %d", len(begins), r.FileSeq)
			}
		}
	}
	if got := strings.Join(begins, " "); got != "start reopen reopen reopen" {
		t.Errorf("files begin with: %s", got)
	}
}

// TestOutputErrors names what is wrong with an output before anything is traced.
func TestOutputErrors(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"-c", "--output", dir + "/none/file"}, 1, dir + "/none"},
		{[]string{"-c", "--output", dir}, 1, dir},
		{[]string{"-c", "--output", dir + "/file,evnts=close"}, 3, "no key 'evnts', near: events"},
		{[]string{"-c", "--queue-bytes", "1"}, 3, "option '--queue-bytes' needs a size"},
		{[]string{"-c", "--on-stall", "wait"}, 3, "option '--on-stall' takes drop or block"},
		{[]string{"-tan", "--output", dir + "/file"}, 3, "need -c and TCP, UDP, raw or Unix sockets"},
		{[]string{"-rc", "--output", dir + "/file"}, 3, "need -c and TCP, UDP, raw or Unix sockets"},
		{[]string{"-c", "--summary", "--output", dir + "/file,events=close"}, 3, "exclude each other"},
	} {
		_, stderr, status := nettraceIn(t, newNetns(t), 0, c.args...)
		if status != c.status || !strings.Contains(stderr, c.says) {
			t.Errorf("%q: status %d, stderr: %s", c.args, status, stderr)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%q: it leaves %v, %v", c.args, left, err)
		}
	}
}
