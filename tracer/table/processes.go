package table

import (
	"bytes"
	"slices"

	"github.com/nettrace/nettrace/snapshot"
)

// Processes is the cache of processes, by thread-group id in the first pid namespace.
// The kernel sends a process before the first event that it causes, and again before
// the next one when it has changed. So an entry is dropped only after the kernel has
// forgotten it too.
//
// Where the kernel side keeps connections, they name a process as it was when it called:
// what it was formerly is kept until Sweep.
type Processes struct {
	byTask     map[uint32]*processEntry
	holders    map[uint32]holder // of the scan under way
	read       func(p *snapshot.Process, start uint64)
	forget     func(task uint32)
	limit      int
	keepFormer bool
	formerly   int // how many formerProcess there are
	sweepAt    int // at that many, Crowded says so
}

// processEntry is what is known by the number of a process.
type processEntry struct {
	process   *snapshot.Process // nil: nothing now
	known     uint64            // time of its record
	forgotten bool              // by the kernel: to be dropped at the next trim unless sent again
	former    []formerProcess
}

// formerProcess is what was formerly known by a number.
type formerProcess struct {
	process      *snapshot.Process
	known, until uint64 // times of its record and of the next one
}

// ProcessRef names a process as it was: its number, and the time of its record.
type ProcessRef struct {
	Task  uint32
	Known uint64
}

// holder is a process with open files of sockets.
type holder struct {
	process *snapshot.Process
	start   uint64 // Event.Start
}

// firstSweep is how many former processes there may be before any is dropped.
const firstSweep = 4096

// NewProcesses returns an empty cache. Trim begins to drop processes above the
// limit. read adds to a process that is known by an open file what only /proc has, if
// the process that began at start still has its number; forget makes the kernel send a
// process again.
func NewProcesses(limit int, read func(p *snapshot.Process, start uint64), forget func(task uint32)) *Processes {
	return &Processes{
		byTask:  make(map[uint32]*processEntry),
		holders: make(map[uint32]holder),
		read:    read,
		forget:  forget,
		limit:   limit,
		sweepAt: firstSweep,
	}
}

// set takes what the kernel sent of a process. A program that renamed itself keeps its
// executable.
func (p *Processes) set(e *Event) {
	entry := p.byTask[e.Task]
	if entry == nil {
		entry = new(processEntry)
		p.byTask[e.Task] = entry
	} else if !e.Exec && entry.process != nil {
		e.Process.Exe = entry.process.Exe
	}
	p.retire(entry, e.Time)
	entry.process, entry.known, entry.forgotten = e.Process, e.Time, false
}

// retire makes a process a former one, if those are kept.
func (p *Processes) retire(entry *processEntry, until uint64) {
	if p.keepFormer && entry.process != nil {
		entry.former = append(entry.former, formerProcess{entry.process, entry.known, until})
		p.formerly++
	}
	entry.process, entry.known = nil, 0
}

// setExe takes the executable of a process that was just set.
func (p *Processes) setExe(e *Event) {
	if entry := p.byTask[e.Task]; entry != nil && entry.process != nil {
		known := *entry.process
		known.Exe = e.Process.Exe
		entry.process = &known
	}
}

// get returns the process of a record; known is the record's time, 0 the latest one. nil:
// the kernel's record of it was lost.
func (p *Processes) get(task uint32, known uint64) *snapshot.Process {
	e := p.byTask[task]
	if e == nil {
		return nil
	}
	if known == 0 || known == e.known {
		return e.process
	}
	for i := range e.former {
		if e.former[i].known == known {
			return e.former[i].process
		}
	}
	return nil
}

// ofFile returns the process that has the open file of e.
func (p *Processes) ofFile(e *Event) *snapshot.Process {
	if h, ok := p.holders[e.Task]; ok && h.start == e.Start {
		return h.process
	}
	name, _, _ := bytes.Cut(e.Thread[:], []byte{0})
	found := &snapshot.Process{PID: int(e.PID), Comm: string(name)}
	if e.PID != 0 {
		p.read(found, e.Start)
	}
	p.holders[e.Task] = holder{found, e.Start}
	return found
}

// endScan forgets the processes of open files: a number may be another's later.
func (p *Processes) endScan() { clear(p.holders) }

// Trim drops what was forgotten at the trim before and, above the limit, makes
// the kernel forget the rest. Call it when every event was applied, at now.
func (p *Processes) Trim(now uint64) {
	if len(p.byTask) <= p.limit || p.latest() <= p.limit {
		return
	}
	for task, e := range p.byTask {
		if !e.forgotten {
			e.forgotten = true
			p.forget(task)
			continue
		}
		p.retire(e, now)
		if len(e.former) == 0 {
			delete(p.byTask, task)
		}
	}
}

// latest returns how many processes are no former ones.
func (p *Processes) latest() (n int) {
	for _, e := range p.byTask {
		if e.process != nil {
			n++
		}
	}
	return n
}

// Crowded reports whether Sweep should be called.
func (p *Processes) Crowded() bool { return p.formerly >= p.sweepAt }

// Sweep drops the former processes that no connection names which the kernel side keeps.
// named are those that were named at a time; all events up to then must have been applied.
func (p *Processes) Sweep(at uint64, named map[ProcessRef]bool) {
	for task, e := range p.byTask {
		n := len(e.former)
		e.former = slices.DeleteFunc(e.former, func(f formerProcess) bool {
			return f.until < at && !named[ProcessRef{task, f.known}]
		})
		p.formerly -= n - len(e.former)
		if e.process == nil && len(e.former) == 0 {
			delete(p.byTask, task)
		}
	}
	p.sweepAt = max(firstSweep, 2*p.formerly)
}
