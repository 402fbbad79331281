package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// runTo runs nettrace with stdout in a file and returns its exit status.
func runTo(t *testing.T, path string, args ...string) (stderr string, status int) {
	t.Helper()
	out, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := nettraceCommand(t, args...)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	_ = cmd.Wait() // the exit status is returned
	return errs.String(), cmd.ProcessState.ExitCode()
}

// TestFullDisk writes records to a disk without room, which ends the run with a
// message. That netstat's text is cut in silence is netstat's.
func TestFullDisk(t *testing.T) {
	root := fixtureRoot(t, kernelTables())
	var big strings.Builder // more than is buffered
	for range 2000 {
		big.WriteString(allStates("0100007F", "08080808"))
	}
	large := fixtureRoot(t, merge(kernelTables(), tree{"net/tcp": big.String()}))
	for _, args := range [][]string{
		{"-an", "--proc", root},
		{"-an", "--proc", large},
		{"-rn", "--proc", root},
		{"-rnc", "--proc", root},
		{"-gn", "--proc", root},
		{"-s", "--proc", root},
		{"-sc", "--proc", root},
		{"-M", "--proc", root},
		{"-i"},
		{"-ic"},
		{"-c"},
	} {
		stderr, status := runTo(t, "/dev/full", append([]string{"--json"}, args...)...)
		if status != 1 || strings.Count(stderr, unix.ENOSPC.Error()) != 1 {
			t.Errorf("%q: status %d, stderr: %s", args, status, stderr)
		}
	}
	if stderr, status := runTo(t, "/dev/full", "-tan", "--proc", root); status != 0 || stderr != "" {
		t.Errorf("text: status %d, stderr: %s", status, stderr)
	}
}

// TestClosedStdout runs nettrace where nobody can read what it writes.
func TestClosedStdout(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("needs bash: closes stdout")
	}
	root := fixtureRoot(t, kernelTables())
	for _, c := range []struct {
		redirect string
		args     []string
		want     int
	}{
		{">&-", []string{"-c"}, 1},
		{">&-", []string{"-c", "--json"}, 1},
		{">&-", []string{"--json", "-tan", "--proc", root}, 1},
		{">&- <&-", []string{"--json", "-tan", "--proc", root}, 1},
		{">&-", []string{"-tan", "--proc", root}, 0},                                                        // netstat's text
		{">&-", []string{"-c", "--duration", "10ms", "--output", filepath.Join(t.TempDir(), "records")}, 0}, // it writes nothing there
		{">/dev/null", []string{"--json", "-tan", "--proc", root}, 0},
		{"<&-", []string{"--json", "-tan", "--proc", root}, 0},
		{"<>/dev/null >&0 2>&0", []string{"--json", "-tan", "--proc", root}, 0}, // as daemon(3) does
	} {
		cmd := nettraceCommand(t, c.args...)
		cmd.Args = append([]string{"bash", "-c", `program=$1; shift; exec "$program" "$@" ` + c.redirect, "bash", cmd.Path}, c.args...)
		cmd.Path = "/bin/bash"
		var errs bytes.Buffer
		cmd.Stderr, cmd.Stdout = &errs, io.Discard
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // checked by its status
		late.Stop()
		// Without the privilege for BPF a stream says that it polls.
		said := errs.Len() > 0 && !strings.Contains(errs.String(), "polling /proc")
		if got := cmd.ProcessState.ExitCode(); got != c.want || (got != 0) != said {
			t.Errorf("%q %s: status %d, want %d; stderr: %s", c.args, c.redirect, got, c.want, errs.String())
		}
	}
}

// TestNonBlockingStdout makes stdout non-blocking while a stream runs, and reads
// nothing for some time: every record must come.
func TestNonBlockingStdout(t *testing.T) {
	netns := newNetns(t)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := nettraceCommand(t, "-c", "--json", "--require-bpf", "--netns", netns)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "snapshot_end") {
			break
		}
	}
	if err := errors.Join(unix.SetNonblock(int(out.Fd()), true), out.Close()); err != nil {
		t.Fatal(err)
	}
	runLoad(t, load.Client(1, 300, load.Refused), netns)
	time.Sleep(200 * time.Millisecond) // the pipe is full now
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	closes := 0
	var last record
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if r.Seq != last.Seq+1 && last.Seq != 0 {
			t.Errorf("record %d after %d", r.Seq, last.Seq)
		}
		if r.Event == "tcp_close" {
			closes++
		}
		last = r
	}
	if err := cmd.Wait(); err != nil || closes != 300 || last.Event != "stop" {
		t.Errorf("%v, %d closes, the last record is %s; stderr: %s", err, closes, last.Event, errs.String())
	}
}
