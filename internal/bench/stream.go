package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// tool is a tracer that is measured; the zero tool is none.
type tool struct {
	name  string
	args  func(b *bench, netns string) []string
	line  string // what a line that tells a transition has
	ready string // what it prints when it traces; empty: a second is enough
}

var tools = []tool{
	{name: "nothing"},
	{
		name: "nettrace", line: `"event":"tcp_state"`, ready: `"event":"snapshot_end"`,
		args: func(b *bench, netns string) []string {
			return []string{b.program, "-ac", "--json", "--require-bpf", "--netns", netns}
		},
	},
	{
		name: "tcpstates", line: "->",
		// It needs tracefs, which not every machine has mounted, and writes in
		// large blocks unless it is told otherwise.
		args: func(*bench, string) []string {
			return []string{"unshare", "-m", "sh", "-c", "mount -t tracefs tracefs /sys/kernel/tracing; exec stdbuf -oL tcpstates"}
		},
	},
}

// outcome is what one round of the stream's load gave.
type outcome struct {
	rate        float64 // connections a second
	cpu         float64 // seconds, user and system, of the tool during the load
	transitions int
	lost        int
	bpf         float64 // seconds that its BPF programs ran
}

// running is a tool at work.
type running struct {
	cmd    *exec.Cmd
	out    string // file
	stderr bytes.Buffer
}

func (b *bench) startTool(t tool, netns string) (*running, error) {
	r := &running{out: filepath.Join(b.dir, "out")}
	f, err := os.Create(r.out)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	args := t.args(b, netns)
	r.cmd = exec.Command(args[0], args[1:]...)
	r.cmd.Stdout, r.cmd.Stderr = f, &r.stderr
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	if t.ready == "" {
		time.Sleep(2 * time.Second)
		var status syscall.WaitStatus
		if pid, err := syscall.Wait4(r.cmd.Process.Pid, &status, syscall.WNOHANG, nil); err != nil || pid != 0 {
			return nil, fmt.Errorf("%s has ended: %s", t.name, r.stderr.String())
		}
		return r, nil
	}
	for range 1000 {
		text, err := os.ReadFile(r.out)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(text, []byte(t.ready)) {
			return r, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, errors.Join(fmt.Errorf("%s does not start: %s", t.name, r.stderr.String()), r.stop())
}

func (r *running) stop() error {
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	_ = r.cmd.Wait() // tools differ in the status that a signal gives
	return nil
}

// cpuSeconds gives the time that a process has used (proc(5), stat).
func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100, errors.Join(err1, err2)
}

var lostEvents = regexp.MustCompile(`(?i)lost (\d+) events`)

// count reads what the tool wrote.
func (r *running) count(t tool, o *outcome) error {
	f, err := os.Open(r.out)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text(), t.line) {
			o.transitions++
		}
		if _, after, ok := strings.Cut(lines.Text(), `"event":"stop"`); ok {
			_, after, _ = strings.Cut(after, `"lost_ringbuf":`)
			n, _, _ := strings.Cut(after, ",")
			if o.lost, err = strconv.Atoi(n); err != nil {
				return err
			}
		}
	}
	for _, m := range lostEvents.FindAllStringSubmatch(r.stderr.String(), -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return err
		}
		o.lost += n
	}
	return lines.Err()
}

// churn makes the load: two clients at full speed, one server; connections that
// close by FIN on both sides.
func (b *bench) churn(netns string) (seconds float64, err error) {
	server, err := load.Start(load.Server(), netns)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	var clients []*load.Process
	for i := range 2 {
		c, err := load.Start(load.Client(i*b.connections/2, b.connections/2, load.FIN), netns)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, c.Stop()) }()
		clients = append(clients, c)
	}
	start := time.Now()
	for _, c := range clients {
		if err := c.Go(); err != nil {
			return 0, err
		}
	}
	for _, c := range clients {
		if err := c.Done(); err != nil {
			return 0, err
		}
	}
	return time.Since(start).Seconds(), nil
}

func (b *bench) roundOf(t tool, bpfTime bool) (o outcome, err error) {
	err = b.inNetns(func(netns string) error {
		if t.args == nil {
			seconds, err := b.churn(netns)
			o.rate = float64(b.connections) / seconds
			return err
		}
		r, err := b.startTool(t, netns)
		if err != nil {
			return err
		}
		before, err := cpuSeconds(r.cmd.Process.Pid)
		if err != nil {
			return errors.Join(err, r.stop())
		}
		if bpfTime {
			stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
			if err != nil {
				return errors.Join(err, r.stop())
			}
			defer stats.Close()
		}
		seconds, err := b.churn(netns)
		if err != nil {
			return errors.Join(err, r.stop())
		}
		time.Sleep(500 * time.Millisecond) // for what is still on its way
		after, err := cpuSeconds(r.cmd.Process.Pid)
		if err != nil {
			return errors.Join(err, r.stop())
		}
		o.rate, o.cpu = float64(b.connections)/seconds, after-before
		if bpfTime {
			if o.bpf, err = bpfRuntime(); err != nil {
				return errors.Join(err, r.stop())
			}
		}
		return errors.Join(r.stop(), r.count(t, &o))
	})
	return o, err
}

// bpfRuntime gives the time that all BPF programs ran since statistics were
// enabled. Nothing else loads programs that count then.
func bpfRuntime() (float64, error) {
	total := time.Duration(0)
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return total.Seconds(), nil
		}
		if err != nil {
			return 0, err
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		stats, err := p.Stats()
		p.Close()
		if err != nil {
			return 0, err
		}
		total += stats.Runtime
	}
}

func (b *bench) stream() error {
	results := make(map[string][]outcome)
	for range b.rounds {
		for _, t := range tools {
			o, err := b.roundOf(t, false)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			results[t.name] = append(results[t.name], o)
		}
	}
	timed := make(map[string]float64)
	for _, t := range tools[1:] {
		o, err := b.roundOf(t, true)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		timed[t.name] = o.bpf * 1e6 / float64(max(o.transitions, 1))
	}
	var rows [][]string
	slow := make(map[string]float64)
	for _, t := range tools {
		var rates, cpus, slowdowns []float64
		var transitions, lost []int
		for i, o := range results[t.name] {
			rates = append(rates, o.rate)
			slowdowns = append(slowdowns, 100*(results["nothing"][i].rate/o.rate-1))
			cpus = append(cpus, o.cpu*1e6/float64(max(o.transitions, 1)))
			transitions, lost = append(transitions, o.transitions), append(lost, o.lost)
		}
		slow[t.name] = median(slowdowns)
		row := []string{t.name, fmt.Sprintf("%.0f", median(rates)), "", "", "", "", ""}
		if t.args != nil {
			row = []string{
				t.name, fmt.Sprintf("%.0f", median(rates)), fmt.Sprintf("%.1f %%", slow[t.name]),
				strconv.Itoa(median(transitions)), strconv.Itoa(median(lost)),
				fmt.Sprintf("%.2f µs", median(cpus)), fmt.Sprintf("%.2f µs", timed[t.name]),
			}
		}
		if t.name == "nettrace" {
			row = append(row, fmt.Sprintf("lost %s; CPU %s; BPF %s; slowdown %s, and %s of tcpstates'",
				verdict(float64(median(lost)), 0, "events"), verdict(median(cpus), 0.6, "µs"),
				verdict(timed[t.name], 0.5, "µs"), verdict(slow[t.name], 10, "%"), "half"))
		} else {
			row = append(row, "")
		}
		rows = append(rows, row)
	}
	table(fmt.Sprintf("Stream: %d connections at full speed, closed by FIN", b.connections), []string{
		"traced by", "connections/s", "slowdown", "transitions told", "lost", "CPU a transition", "BPF a transition", "budget",
	}, rows)
	fmt.Printf("\nSlowdown of nettrace / of tcpstates: %.2f (≤ 0.5). nettrace tells TIME_WAIT and SYN_RECV too, tcpstates does not.\n",
		slow["nettrace"]/slow["tcpstates"])
	return nil
}

// start measures the time from exec to the first transition told, while
// connections are made all the time, and to the full picture.
func (b *bench) start() error {
	var first, full []float64
	err := b.inNetns(func(netns string) error {
		for range b.rounds {
			c, err := load.Start(load.Client(0, 1<<21, load.Refused), netns)
			if err != nil {
				return err
			}
			if err := c.Go(); err != nil {
				return err
			}
			cmd := exec.Command(b.program, "-ac", "--json", "--require-bpf", "--netns", netns)
			out, err := cmd.StdoutPipe()
			if err != nil {
				return err
			}
			begin := time.Now()
			if err := cmd.Start(); err != nil {
				return err
			}
			lines := bufio.NewScanner(out)
			skipTo(lines, `"snapshot_end"`)
			full = append(full, time.Since(begin).Seconds())
			skipTo(lines, `"tcp_state"`)
			first = append(first, time.Since(begin).Seconds())
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // killed
			if err := c.Kill(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	table("Start", []string{"from exec to", "time", "budget"}, [][]string{
		{"the full picture", fmt.Sprintf("%.0f ms", median(full)*1e3), ""},
		{"the first transition told", fmt.Sprintf("%.0f ms", median(first)*1e3), verdict(median(first)*1e3, 200, "ms")},
	})
	return nil
}

// skipTo reads lines until one has the text.
func skipTo(lines *bufio.Scanner, text string) {
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return
		}
	}
}

// peakMemory gives VmHWM of a process in MiB.
func peakMemory(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	return kib / 1024, err
}

// memory measures the stream with the most sockets open.
func (b *bench) memory() error {
	n := b.sockets[len(b.sockets)-1]
	var before, mib float64
	err := b.inNetns(func(netns string) error {
		r, err := b.startTool(tools[1], netns)
		if err != nil {
			return err
		}
		if before, err = peakMemory(r.cmd.Process.Pid); err != nil {
			return errors.Join(err, r.stop())
		}
		err = b.hold(netns, n, func() error {
			time.Sleep(time.Second)
			mib, err = peakMemory(r.cmd.Process.Pid)
			return err
		})
		return errors.Join(err, r.stop())
	})
	if err != nil {
		return err
	}
	table("Memory of the stream", []string{"sockets open", "peak resident", "budget"}, [][]string{
		{"0", fmt.Sprintf("%.1f MiB", before), ""},
		{strconv.Itoa(n), fmt.Sprintf("%.1f MiB", mib), verdict(mib, 64, "MiB")},
	})
	return nil
}

// million makes a million connections in one run and looks whether memory grows
// and whether the table is empty when they are over.
func (b *bench) million() error {
	const total, part = 1_000_000, 50_000
	var rows [][]string
	err := b.inNetns(func(netns string) error {
		r, err := b.startTool(tool{
			name: "nettrace", ready: "TIME ", args: func(b *bench, netns string) []string {
				return []string{b.program, "-ac", "--require-bpf", "--netns", netns, "--count", "1000000000"}
			},
		}, netns)
		if err != nil {
			return err
		}
		b.connections = part
		for done := part; done <= total; done += part {
			if _, err := b.churn(netns); err != nil {
				return errors.Join(err, r.stop())
			}
			if err := os.Truncate(r.out, 0); err != nil {
				return errors.Join(err, r.stop())
			}
			if done%(total/5) == 0 {
				mib, err := peakMemory(r.cmd.Process.Pid)
				if err != nil {
					return errors.Join(err, r.stop())
				}
				rows = append(rows, []string{strconv.Itoa(done), fmt.Sprintf("%.1f MiB", mib)})
			}
		}
		time.Sleep(70 * time.Second) // TIME_WAIT
		if err := r.stop(); err != nil {
			return err
		}
		rows = append(rows, []string{"a minute later", strings.TrimSpace(r.stderr.String())})
		return nil
	})
	if err != nil {
		return err
	}
	table("A million connections", []string{"connections", "peak resident"}, rows)
	return nil
}
