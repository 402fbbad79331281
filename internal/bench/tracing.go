package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// firstConnection is the number of the load's first connection. tcpstates traces
// all namespaces, so the benchmark's connections have numbers of their own, far
// from those of the tests.
const firstConnection = 3_000_000

// peer is a program that traces TCP states.
type peer struct {
	name    string
	command func(b *bench, s *scene) []string
	// prepare runs on the thread that starts the program.
	prepare func() error
	// ready reports from the output so far whether the program traces already.
	ready func(pid int, out []byte) bool
	count func(out io.Reader, stderr []byte) (totals, error)
	// walk holds the transitions it reports of a connection that the client
	// closes first.
	walk []string
}

var nettrace = &peer{
	name: "nettrace",
	command: func(b *bench, s *scene) []string {
		return []string{b.nettrace, "-ac", "--json", "--require-bpf", "--netns", s.path}
	},
	prepare: func() error { return nil },
	ready:   func(_ int, out []byte) bool { return bytes.Contains(out, []byte(`"event":"snapshot_end"`)) },
	count:   func(out io.Reader, _ []byte) (totals, error) { return countRecords(out) },
	walk:    append([]string{"FIN_WAIT2>TIME_WAIT"}, commonWalk...),
}

var tcpstates = &peer{
	name:    "tcpstates",
	command: func(*bench, *scene) []string { return []string{"tcpstates"} },
	prepare: mountTracefs,
	ready:   func(pid int, _ []byte) bool { return holdsLink(pid) },
	count:   countLines,
	walk:    append([]string{"FIN_WAIT2>CLOSE"}, commonWalk...),
}

// commonWalk holds the transitions of both ends of a connection, without the
// client's last one. That one differs: the tracepoint reports CLOSE where nettrace
// reports TIME_WAIT.
var commonWalk = []string{
	"CLOSE>SYN_SENT", "SYN_SENT>ESTABLISHED", "ESTABLISHED>FIN_WAIT1", "FIN_WAIT1>FIN_WAIT2",
	"LISTEN>SYN_RECV", "SYN_RECV>ESTABLISHED", "ESTABLISHED>CLOSE_WAIT", "CLOSE_WAIT>LAST_ACK", "LAST_ACK>CLOSE",
}

// totals counts what a tracer reported of a load.
type totals struct {
	transitions map[string]int // of the load, by "OLD>NEW"
	others      int            // of other namespaces
	closes      int            // connections reported as closed
	inferred    int            // transitions found by comparing with the kernel's table
	lost        int            // transitions or records that it reports as missing
	open        int            // connections left in its table
}

// besides returns the transitions that are left when the walks of a number of
// connections are taken away.
func (t *totals) besides(walk []string, connections int) map[string]int {
	extra := make(map[string]int)
	for step, n := range t.transitions {
		if slices.Contains(walk, step) {
			n -= connections
		}
		if n > 0 {
			extra[step] = n
		}
	}
	return extra
}

func (t *totals) add(old, state []byte) {
	if t.transitions == nil {
		t.transitions = make(map[string]int)
	}
	t.transitions[string(old)+">"+string(state)]++
}

// total returns the number of transitions.
func (t *totals) total() int {
	sum := 0
	for _, n := range t.transitions {
		sum += n
	}
	return sum
}

// missing returns how many transitions of a walk are missing, if each of a number
// of connections walked through it. Other transitions do not make up for them.
func (t *totals) missing(walk []string, connections int) int {
	sum := 0
	for _, step := range walk {
		sum += max(connections-t.transitions[step], 0)
	}
	return sum
}

// countRecords reads nettrace's NDJSON. Without a stop record it fails.
func countRecords(out io.Reader) (totals, error) {
	var t totals
	var last []byte
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 64<<10), 64<<10)
	for lines.Scan() {
		line := lines.Bytes()
		switch string(field(line, "event")) {
		case "tcp_state":
			t.add(field(line, "old_state"), field(line, "new_state"))
			if bytes.Contains(line, []byte(`"inferred":true`)) {
				t.inferred++
			}
		case "tcp_close":
			t.closes++
		case "stop":
			last = bytes.Clone(line)
		}
	}
	if err := lines.Err(); err != nil {
		return t, err
	}
	var stop struct {
		Ringbuf int `json:"lost_ringbuf"`
		Queue   int `json:"lost_queue"`
		Output  int `json:"lost_output"`
		Open    int `json:"open"`
	}
	if err := json.Unmarshal(last, &stop); err != nil {
		return t, fmt.Errorf("nettrace's stop record %q: %w", last, err)
	}
	t.lost, t.open = stop.Ringbuf+stop.Queue+stop.Output, stop.Open
	return t, nil
}

// field returns the value of a string member. The string must hold no escapes.
func field(record []byte, key string) []byte {
	_, after, _ := bytes.Cut(record, []byte(`"`+key+`":"`))
	value, _, _ := bytes.Cut(after, []byte(`"`))
	return value
}

var lostEvents = regexp.MustCompile(`(?i)lost (\d+) events`)

// countLines reads what tcpstates wrote.
func countLines(out io.Reader, stderr []byte) (totals, error) {
	var t totals
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		old, state, ours := parseLine(lines.Bytes())
		switch {
		case ours:
			t.add(old, state)
		case old != nil:
			t.others++
		}
	}
	for _, m := range lostEvents.FindAllSubmatch(stderr, -1) {
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			return t, fmt.Errorf("tcpstates' %q: %w", m[0], err)
		}
		t.lost += n
	}
	return t, lines.Err()
}

// parseLine returns the two states of a line of tcpstates, or nil if it is no
// transition, and whether it belongs to the load. A command's name may hold
// spaces, so the line is read from its end: LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS.
func parseLine(line []byte) (old, state []byte, ours bool) {
	fields := bytes.Fields(line)
	n := len(fields)
	if n < 10 || string(fields[n-3]) != "->" {
		return nil, nil, false
	}
	for _, field := range [][]byte{fields[n-8], fields[n-6]} {
		addr, err := netip.ParseAddr(string(field))
		if err != nil {
			continue
		}
		if number, known := load.Number(addr); known && number >= firstConnection {
			ours = true
		}
	}
	return fields[n-4], fields[n-2], ours
}

// mountTracefs mounts tracefs where the machine has not. libbpf looks up
// tracepoints there. Only the calling thread and what it starts see the mount.
func mountTracefs() error {
	const dir = "/sys/kernel/tracing"
	if isDir(dir+"/events") || isDir("/sys/kernel/debug/tracing/events") {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare the mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("nodev", dir, "tracefs", 0, ""); err != nil {
		return fmt.Errorf("mount tracefs on %s: %w", dir, err)
	}
	return nil
}

// holdsLink reports whether a process has attached a BPF program to a tracepoint.
func holdsLink(pid int) bool {
	for info := range fdinfos(pid) {
		if bytes.Contains(info, []byte("link_type:")) {
			return true
		}
	}
	return false
}

// tracing is a peer at work, its output in a file.
type tracing struct {
	peer   *peer
	cmd    *exec.Cmd
	path   string
	stderr bytes.Buffer
	ended  bool
}

// trace starts a peer and waits until it traces.
func (b *bench) trace(ctx context.Context, p *peer, s *scene) (*tracing, error) {
	t := &tracing{peer: p, path: filepath.Join(b.dir, p.name+".out")}
	out, err := os.Create(t.path)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	args := p.command(b, s)
	t.cmd = exec.Command(args[0], args[1:]...)
	t.cmd.Stdout, t.cmd.Stderr = out, &t.stderr
	if err := p.launch(t.cmd); err != nil {
		return nil, err
	}
	err = t.awaitReady(ctx)
	if err == nil {
		err = t.settle(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, t.end())
	}
	return t, nil
}

// awaitReady waits until the peer traces, ten seconds at most.
func (t *tracing) awaitReady(ctx context.Context) error {
	for range 1000 {
		if t.peer.ready(t.pid(), readFile(t.path)) {
			return nil
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s does not trace", t.peer.name)
}

func (p *peer) launch(cmd *exec.Cmd) error {
	err := onThread(func() error {
		if err := p.prepare(); err != nil {
			return err
		}
		return cmd.Start()
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	return nil
}

func (t *tracing) pid() int { return t.cmd.Process.Pid }

// settle waits until the output grows no more, a minute at most.
func (t *tracing) settle(ctx context.Context) error {
	size := int64(-1)
	for range 200 {
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		st, err := os.Stat(t.path)
		if err != nil {
			return err
		}
		if st.Size() == size {
			return nil
		}
		size = st.Size()
	}
	return fmt.Errorf("%s does not come to rest", t.peer.name)
}

// end ends the peer. If it has ended already, end does nothing.
func (t *tracing) end() error {
	if t.ended {
		return nil
	}
	t.ended = true
	if err := interrupt(t.cmd); err != nil {
		return fmt.Errorf("%w: %s", err, t.stderr.Bytes())
	}
	return nil
}

// interrupt ends a process as Ctrl-C does, and kills it after ten seconds.
func interrupt(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", cmd.Path, err)
	}
	return nil
}

// totals counts what a peer reported. The peer must have ended.
func (t *tracing) totals() (totals, error) {
	f, err := os.Open(t.path)
	if err != nil {
		return totals{}, err
	}
	defer f.Close()
	return t.peer.count(f, t.stderr.Bytes())
}
