package main

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// cpuTime returns the user and system time of a process with all its threads,
// ended ones included. The id of a process's clock is the complement of its pid
// (clock_getcpuclockid(3), include/linux/posix-timers_types.h).
func cpuTime(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED: counted by the scheduler, in ns
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// memory is the memory of a process, in bytes.
type memory struct {
	peak, now, anonymous uint64
}

func memoryOf(pid int) (memory, error) {
	path := filepath.Join("/proc", strconv.Itoa(pid), "status")
	m := parseMemory(readFile(path))
	if m.peak == 0 {
		return m, fmt.Errorf("%s: no VmHWM", path)
	}
	return m, nil
}

// parseMemory reads a process's status file (proc_pid_status(5)).
func parseMemory(status []byte) memory {
	var m memory
	into := map[string]*uint64{"VmHWM": &m.peak, "VmRSS": &m.now, "RssAnon": &m.anonymous}
	for line := range bytes.Lines(status) {
		key, value, _ := strings.Cut(string(line), ":")
		if n := into[key]; n != nil {
			kilobytes, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 54)
			if err == nil {
				*n = kilobytes << 10
			}
		}
	}
	return m
}

// bpfRun holds the kernel's counters of a BPF program.
type bpfRun struct {
	name  string
	time  time.Duration
	count uint64
	// skipped counts recursion misses: the program already ran on that CPU.
	skipped uint64
}

// fdinfos yields what the kernel tells of each descriptor of a process
// (proc_pid_fdinfo(5)).
func fdinfos(pid int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		// The pattern is a valid one, which is all that an error would be about.
		paths, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fdinfo/*"))
		for _, path := range paths {
			if !yield(readFile(path)) {
				return
			}
		}
	}
}

// bpfRuns returns the BPF programs that a process has open, by their id, but for those that
// it runs itself (BPF_PROG_TYPE_SYSCALL): their time is in its own.
func bpfRuns(pid int) (map[uint32]bpfRun, error) {
	runs := make(map[uint32]bpfRun)
	for info := range fdinfos(pid) {
		id, ok := parseProgramID(info)
		if !ok {
			continue
		}
		if _, known := runs[id]; known {
			continue
		}
		run, kind, err := bpfRunOf(ebpf.ProgramID(id))
		if err != nil {
			return nil, fmt.Errorf("BPF program %d: %w", id, err)
		}
		if kind != ebpf.Syscall {
			runs[id] = run
		}
	}
	return runs, nil
}

// parseProgramID returns the program's id from the fdinfo file of a program or a
// link (bpf_prog_show_fdinfo and bpf_link_show_fdinfo, kernel/bpf/syscall.c).
func parseProgramID(fdinfo []byte) (id uint32, ok bool) {
	n, ok := infoNumber(fdinfo, "prog_id")
	return uint32(n), ok && n > 0 && n <= math.MaxUint32
}

// infoNumber returns a number of an fdinfo file.
func infoNumber(fdinfo []byte, name string) (n uint64, ok bool) {
	for line := range bytes.Lines(fdinfo) {
		if key, value, _ := strings.Cut(string(line), ":"); key == name {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

func bpfRunOf(id ebpf.ProgramID) (bpfRun, ebpf.ProgramType, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return bpfRun{}, 0, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return bpfRun{}, 0, err
	}
	stats, err := p.Stats()
	if err != nil {
		return bpfRun{}, 0, err
	}
	return bpfRun{info.Name, stats.Runtime, stats.RunCount, stats.RecursionMisses}, info.Type, nil
}

// sample is one run of a command.
type sample struct {
	wall, cpu time.Duration
}

// once runs a command in a scene as a user and discards its output.
func once(ctx context.Context, s *scene, args []string, uid uint32) (sample, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = "/"
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	if err := s.enter(cmd.Start); err != nil {
		return sample{}, err
	}
	err := cmd.Wait()
	took := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("%v: %w: %s", args, err, stderr.Bytes())
	}
	return sample{took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}
