package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// A refused connect has two transitions and a close: some 1,800 bytes.
const refusedStates = 2

// queueArgs are those of a stream with a small queue, so that a small load fills it. The
// ring has room for what the machine is too slow for.
func queueArgs(netns string, more ...string) []string {
	return append([]string{"--json", "-ac", "--require-bpf", "--interval", "1h", "--ring-size", "64M", "--queue-bytes", "4M", "--netns", netns}, more...)
}

func isResync(r *lossRecord) bool { return r.Event == "resync" }

func toTheEnd(*lossRecord) bool { return false }

// TestStalledReader has the reader of a pipe stop for two loads: one that leaves the
// queue room for closes, and one that fills it. What arrives and what is told as lost
// are what happened, by kind; the table is unharmed, and memory is bounded.
func TestStalledReader(t *testing.T) {
	for _, c := range []struct {
		name        string
		connections int
		closesLost  bool
	}{
		{"all closes have a place", 3000, false},
		{"nothing has a place", 12000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			netns := newNetns(t)
			p := pipe(t, queueArgs(netns)...)
			rest := p.memory("VmRSS")
			runLoad(t, load.Client(1, c.connections, load.Refused), netns)
			p.settle()
			if peak := p.memory("VmHWM"); peak > rest+4<<20+16<<20 {
				t.Errorf("memory rose from %d to %d bytes, with a queue of 4M", rest, peak)
			}
			p.signal(syscall.SIGUSR1)
			records := p.records(isResync)
			p.signal(syscall.SIGTERM)
			records = append(records, p.records(toTheEnd)...)
			if status := p.wait(); status != 0 {
				t.Errorf("status %d", status)
			}
			sum := count(t, records)
			if sum.states+sum.lostStates != c.connections*refusedStates || sum.closes+sum.lostCloses != c.connections {
				t.Errorf("%d connections: %+v", c.connections, sum)
			}
			if lost := sum.lost["queue"]; lost != sum.lostStates+sum.lostCloses || lost == 0 || len(sum.lost) != 1 {
				t.Errorf("lost are %v, by kind %d and %d", sum.lost, sum.lostStates, sum.lostCloses)
			}
			if (sum.lostCloses > 0) != c.closesLost {
				t.Errorf("%d closes were left out", sum.lostCloses)
			}
			for _, r := range sum.resyncs {
				if r.Added+r.Removed+r.Changed > 0 {
					t.Errorf("the table differed: %+v", r)
				}
			}
			if last := records[len(records)-1]; last.Event != "stop" || last.LostQueue != sum.lost["queue"] {
				t.Errorf("the last record is %+v", last)
			}
			if said := p.stderr.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "stdout takes less than comes") {
				t.Errorf("it says: %s", said)
			}
		})
	}
}

// TestSlowReader reads less than comes, without a pause: what arrives and what is told
// are what happened.
func TestSlowReader(t *testing.T) {
	netns := newNetns(t)
	p := pipe(t, queueArgs(netns)...)
	const connections = 12000
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		runLoad(t, load.Client(1, connections, load.Refused), netns)
	}()
	var records []lossRecord
	slowly := func(*lossRecord) bool {
		select {
		case <-loaded:
			return true
		case <-time.After(100 * time.Microsecond):
			return false
		}
	}
	records = append(records, p.records(slowly)...)
	p.settle()
	p.signal(syscall.SIGUSR1)
	records = append(records, p.records(isResync)...)
	p.signal(syscall.SIGTERM)
	records = append(records, p.records(toTheEnd)...)
	if status := p.wait(); status != 0 {
		t.Errorf("status %d: %s", status, p.stderr.String())
	}
	sum := count(t, records)
	if sum.states+sum.lostStates != connections*refusedStates || sum.closes+sum.lostCloses != connections || sum.lost["ringbuf"] > 0 {
		t.Errorf("%+v", sum)
	}
}

// TestEndInStall ends nettrace while nobody reads: it ends, says what nobody got, and
// leaves whole lines.
func TestEndInStall(t *testing.T) {
	for name, args := range map[string][]string{
		"drop": {"--json"}, "block": {"--json", "--on-stall", "block"}, "both streams": {"--json"}, "text": {"-n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for the seconds that a run has to hand over what waits
			netns := newNetns(t)
			args := append(args, "-ac", "--require-bpf", "--ring-size", "64M", "--queue-bytes", "4M", "--netns", netns)
			p := startPiped(t, args...)
			if name == "both streams" { // stderr in the same pipe
				p = startBoth(t, args...)
			}
			for line := ""; !strings.Contains(line, "snapshot_end") && !strings.HasPrefix(line, "TIME "); {
				var err error
				if line, err = p.lines.ReadString('\n'); err != nil {
					t.Fatalf("%v: %s", err, p.stderr.String())
				}
			}
			runLoad(t, load.Client(1, 6000, load.Refused), netns)
			p.settle()
			p.signal(syscall.SIGTERM)
			if status := p.wait(); status != 1 {
				t.Errorf("status %d", status)
			}
			if said := p.stderr.String(); name != "both streams" && !strings.Contains(said, "records could not be delivered before the end") {
				t.Errorf("it says: %s", said)
			}
			rest, _ := p.lines.Peek(p.lines.Buffered())
			got := append(bytes.Clone(rest), pipeRead(t, p.in)...)
			for line := range bytes.Lines(got) {
				if line[len(line)-1] != '\n' || name != "text" && !bytes.HasPrefix(line, []byte("nettrace: ")) && !json.Valid(line) {
					t.Errorf("a line is cut: %q", line)
				}
			}
		})
	}
}

// startBoth starts nettrace with both of its streams in one pipe.
func startBoth(t *testing.T, args ...string) *piped {
	t.Helper()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := startPiped(t, "--version")
	_ = p.cmd.Wait()
	p.cmd = nettraceCommand(t, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.in = in
	p.lines.Reset(in)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestBlock has the kernel's buffer fill instead of the queue, on request: nothing is
// left out by the queue.
func TestBlock(t *testing.T) {
	netns := newNetns(t)
	p := pipe(t, queueArgs(netns, "--on-stall=block")...)
	const connections = 6000 // less than the ring has room for
	runLoad(t, load.Client(1, connections, load.Refused), netns)
	time.Sleep(300 * time.Millisecond) // the queue is full now
	p.signal(syscall.SIGUSR1)
	records := p.records(isResync)
	p.signal(syscall.SIGTERM)
	records = append(records, p.records(toTheEnd)...)
	if status := p.wait(); status != 0 {
		t.Errorf("status %d: %s", status, p.stderr.String())
	}
	if sum := count(t, records); sum.states != connections*refusedStates || sum.closes != connections || len(sum.lost) > 0 {
		t.Errorf("%+v", sum)
	}
}

// TestReaderDies ends nettrace with its reader, without a word: at the next record, or
// at SIGHUP.
func TestReaderDies(t *testing.T) {
	for name, then := range map[string]func(t *testing.T, p *piped, netns string){
		"a record": func(t *testing.T, _ *piped, netns string) { runLoad(t, load.Client(1, 10, load.Refused), netns) },
		"SIGHUP":   func(_ *testing.T, p *piped, _ string) { p.signal(syscall.SIGHUP) },
	} {
		t.Run(name, func(t *testing.T) {
			netns := newNetns(t)
			p := pipe(t, queueArgs(netns)...)
			_ = p.in.Close()
			then(t, p, netns)
			if status := p.wait(); status != 141 || p.stderr.String() != "" {
				t.Errorf("status %d; stderr: %s", status, p.stderr.String())
			}
		})
	}
}

// TestHangUp sends SIGHUP to a run without files: it goes on.
func TestHangUp(t *testing.T) {
	netns := newNetns(t)
	p := pipe(t, queueArgs(netns)...)
	for range 3 {
		p.signal(syscall.SIGHUP)
	}
	runLoad(t, load.Client(1, 50, load.Refused), netns)
	p.signal(syscall.SIGTERM)
	sum := count(t, p.records(toTheEnd))
	if status := p.wait(); status != 0 || sum.closes != 50 {
		t.Errorf("status %d, %+v; stderr: %s", status, sum, p.stderr.String())
	}
}

// TestTerminalHangUp hangs up the terminal of a run that has nothing to write: it ends.
func TestTerminalHangUp(t *testing.T) {
	netns := newNetns(t)
	s := newScreen(t, 100)
	cmd := nettraceCommand(t, "-cn", "--require-bpf", "--netns", netns)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.slave, s.slave, s.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	s.wait("PID/PROGRAM")
	if err := unix.IoctlSetInt(int(s.slave.Fd()), unix.TIOCVHANGUP, 0); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit status is looked at
	if status := cmd.ProcessState.ExitCode(); status != 1 {
		t.Errorf("it ends with %v", cmd.ProcessState)
	}
}

// TestStopped stops nettrace itself and has it go on: what fits in the ring is not lost.
func TestStopped(t *testing.T) {
	netns := newNetns(t)
	p := pipe(t, queueArgs(netns, "--queue-bytes", "64M")...)
	p.signal(syscall.SIGSTOP)
	const connections = 2000
	runLoad(t, load.Client(1, connections, load.Refused), netns)
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGUSR1)
	records := p.records(isResync)
	p.signal(syscall.SIGTERM)
	records = append(records, p.records(toTheEnd)...)
	sum := count(t, records)
	if status := p.wait(); status != 0 || sum.states != connections*refusedStates || sum.closes != connections || len(sum.lost) > 0 {
		t.Errorf("status %d, %+v", status, sum)
	}
	for _, r := range sum.resyncs {
		if r.Added+r.Removed+r.Changed > 0 {
			t.Errorf("the table differed: %+v", r)
		}
	}
}

// TestTextStall leaves lines out of text, and says so where they are missing.
func TestTextStall(t *testing.T) {
	netns := newNetns(t)
	p := pipe(t, "-acn", "--require-bpf", "--ring-size", "64M", "--queue-bytes", "1M", "--netns", netns)
	const connections = 12000
	runLoad(t, load.Client(1, connections, load.Refused), netns)
	p.settle()
	p.signal(syscall.SIGTERM)
	changes, missing := 0, 0
	for {
		line, err := p.lines.ReadString('\n')
		if err != nil {
			break
		}
		switch {
		case strings.Contains(line, " -> "):
			changes++
		case strings.Contains(line, "changes are missing from"):
			missing++
		}
	}
	if !strings.Contains(p.stderr.String(), " records left out") {
		t.Errorf("it ends with: %s", p.stderr.String())
	}
	if status := p.wait(); status != 0 || changes == 0 || changes >= connections*refusedStates || missing != 1 {
		t.Errorf("status %d, %d lines and %d about missing ones; stderr: %s", status, changes, missing, p.stderr.String())
	}
}

// TestTwoOnOnePipe has two runs write to one pipe: each line is whole, and each run's
// numbers have no holes.
func TestTwoOnOnePipe(t *testing.T) {
	netns := newNetns(t)
	p := startPiped(t, "--version")
	_ = p.cmd.Wait()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	p.lines.Reset(in)
	const connections = 1500
	var runs []*piped
	for range 2 {
		run := &piped{t: t, cmd: nettraceCommand(t, queueArgs(netns, "--queue-bytes", "64M", "--count", "3000")...)}
		run.cmd.Stdout, run.cmd.Stderr = out, &run.stderr
		if err := run.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
		t.Cleanup(func() { _ = run.cmd.Process.Kill() })
	}
	_ = out.Close()
	started := 0
	records := p.records(func(r *lossRecord) bool {
		if r.Event == "snapshot_end" {
			started++
		}
		return started == 2
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		runLoad(t, load.Client(1, connections, load.Refused), netns)
	}()
	records = append(records, p.records(toTheEnd)...)
	<-done
	last := make(map[string]int)
	for _, r := range records {
		if r.Seq != last[r.RunID]+1 {
			t.Errorf("run %s: record %d comes after %d", r.RunID, r.Seq, last[r.RunID])
		}
		last[r.RunID] = r.Seq
	}
	for _, run := range runs {
		if status := run.wait(); status != 0 {
			t.Errorf("status %d: %s", status, run.stderr.String())
		}
	}
	if len(last) != 2 {
		t.Errorf("%d runs", len(last))
	}
}
