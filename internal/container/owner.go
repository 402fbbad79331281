package container

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/clock"
	"github.com/nettrace/nettrace/snapshot"
)

// Owner returns what a process runs in now that had a socket at a time of clock.Now. Its
// number may be another's by then: one that has another name, or began later, tells
// nothing.
func (h *Host) Owner(p *snapshot.Process, at uint64) Found {
	found := h.Process(p.PID)
	// Read last: if the number was given to another one before, this is the other one's.
	name, began, ok := h.life(p.PID)
	if !ok || p.Comm != "" && name != p.Comm || began > at {
		return Found{}
	}
	return found
}

// life returns the name of a process and when it began, at the earliest, as of
// clock.Now.
func (h *Host) life(pid int) (name string, began uint64, ok bool) {
	text, err := os.ReadFile(h.proc + "/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", 0, false
	}
	name, ticks, ok := parseStat(string(text))
	var boot unix.Timespec
	if !ok || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return "", 0, false
	}
	age := boot.Nano() - int64(ticks)*ticksUnit
	return name, uint64(max(int64(clock.Now())-age, 0)), true
}

// ticksUnit is the unit of /proc/PID/stat in ns: USER_HZ is 100.
const ticksUnit = 10_000_000

// parseStat reads the name of a process, which may have any bytes in it, and when it
// began: columns 2 and 22 of proc_pid_stat(5).
func parseStat(text string) (name string, began uint64, ok bool) {
	const beganAfterName = 19 // the state is 0
	from, to := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if from < 0 || to < from {
		return "", 0, false
	}
	columns := strings.Fields(text[to+1:])
	if len(columns) <= beganAfterName {
		return "", 0, false
	}
	began, err := strconv.ParseUint(columns[beganAfterName], 10, 64)
	return text[from+1 : to], began, err == nil && began < 1<<62/ticksUnit
}
