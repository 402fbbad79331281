package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lossRecord is what a record says of its place and of what is missing.
type lossRecord struct {
	Event      string `json:"event"`
	Seq        int    `json:"seq"`
	RunID      string `json:"run_id"`
	Reason     string `json:"reason"`
	Stage      string `json:"stage"`
	Lost       int    `json:"lost"`
	LostStates int    `json:"lost_states"`
	LostCloses int    `json:"lost_closes"`
	LostQueue  int    `json:"lost_queue"`
	Added      int    `json:"added"`
	Removed    int    `json:"removed"`
	Changed    int    `json:"changed"`
	FileSeq    int    `json:"file_seq"`
}

// piped is a running nettrace whose reader reads when the test says so.
type piped struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     *os.File
	lines  *bufio.Reader
	stderr syncBuffer
}

// syncBuffer is a buffer that a test reads while a process writes to it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// pipe starts nettrace with stdout in a pipe, and reads until its initial table is
// over.
func pipe(t *testing.T, args ...string) *piped {
	t.Helper()
	p := startPiped(t, args...)
	for {
		line, err := p.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("it does not start: %v; stderr: %s", err, p.stderr.String())
		}
		if strings.Contains(line, "snapshot_end") || strings.HasPrefix(line, "TIME ") {
			return p
		}
	}
}

func startPiped(t *testing.T, args ...string) *piped {
	t.Helper()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &piped{t: t, cmd: nettraceCommand(t, args...), in: in, lines: bufio.NewReaderSize(in, 1<<20)}
	p.cmd.Stdout, p.cmd.Stderr = out, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // in case the test fails before the end
		_ = in.Close()
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

func (p *piped) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// records reads records until one that is the last, or to the end.
func (p *piped) records(last func(*lossRecord) bool) []lossRecord {
	p.t.Helper()
	var all []lossRecord
	for {
		line, err := p.lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return all
		}
		var r lossRecord
		if err := errors.Join(err, json.Unmarshal(line, &r)); err != nil {
			p.t.Fatalf("%v: %q; stderr: %s", err, line, p.stderr.String())
		}
		if all = append(all, r); last(&r) {
			return all
		}
	}
}

// wait waits for the end, and returns the status.
func (p *piped) wait() int {
	p.t.Helper()
	late := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	_ = p.cmd.Wait() // the exit status is returned
	state, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || state.Signal() == syscall.SIGKILL {
		p.t.Fatalf("it does not end; stderr: %s", p.stderr.String())
	}
	if state.Signaled() {
		return 128 + int(state.Signal())
	}
	return state.ExitStatus()
}

// memory returns how much of the process is in memory, in bytes: now, or at most so
// far.
func (p *piped) memory(field string) int {
	p.t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		p.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), field+":")
	kib, err := strconv.Atoi(strings.Fields(after + " ?")[0])
	if err != nil {
		p.t.Fatal(err)
	}
	return kib << 10
}

// settle waits until nettrace has read what the kernel has told: its thread sleeps, and
// its memory no longer grows.
func (p *piped) settle() {
	p.t.Helper()
	cpu := func() string {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
		if err != nil {
			p.t.Fatal(err)
		}
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')'):]))
		return f[11] + " " + f[12] // utime and stime, of proc(5)'s fields 14 and 15
	}
	for before := ""; ; time.Sleep(400 * time.Millisecond) {
		now := cpu()
		if quietSince(before, now) {
			return
		}
		before = now
	}
}

// quietSince reports whether hardly any time of the CPU was used between two readings.
func quietSince(before, now string) bool {
	sum := func(text string) (n int) {
		for _, f := range strings.Fields(text) {
			ticks, _ := strconv.Atoi(f)
			n += ticks
		}
		return n
	}
	return before != "" && sum(now)-sum(before) <= 4
}

// told is what arrived of a load, and what was told as lost, by kind.
type told struct {
	states, closes         int
	lostStates, lostCloses int
	lost                   map[string]int // by stage
	resyncs                []lossRecord
}

// count adds records up, and checks their numbers.
func count(t *testing.T, records []lossRecord) told {
	t.Helper()
	sum := told{lost: make(map[string]int)}
	for i := range records {
		r := &records[i]
		if i > 0 && r.Seq != records[i-1].Seq+1 {
			t.Errorf("record %d comes after %d", r.Seq, records[i-1].Seq)
		}
		switch r.Event {
		case "tcp_state":
			sum.states++
		case "tcp_close":
			sum.closes++
		case "lost":
			sum.lost[r.Stage] += r.Lost
			sum.lostStates += r.LostStates
			sum.lostCloses += r.LostCloses
		case "resync":
			sum.resyncs = append(sum.resyncs, *r)
		}
	}
	return sum
}

// pipeRead reads what is in a pipe without waiting for more.
func pipeRead(t *testing.T, in *os.File) []byte {
	t.Helper()
	fd := int(in.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	var all []byte
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Read(fd, buf)
		if n <= 0 || err != nil {
			return all
		}
		all = append(all, buf[:n]...)
	}
}
