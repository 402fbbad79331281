package table

import (
	"bytes"

	"github.com/nettrace/nettrace/snapshot"
)

// Processes is the cache of processes, by thread-group id in the first pid namespace.
// The kernel sends a process before the first event that it causes, and again before
// the next one when it has changed. So an entry is dropped only after the kernel has
// forgotten it too.
type Processes struct {
	byTask  map[uint32]*processEntry
	holders map[uint32]holder // of the scan under way
	read    func(p *snapshot.Process, start uint64)
	forget  func(task uint32)
	limit   int
}

type processEntry struct {
	process   *snapshot.Process
	forgotten bool // by the kernel: to be dropped at the next trim unless sent again
}

// holder is a process with open files of sockets.
type holder struct {
	process *snapshot.Process
	start   uint64 // Event.Start
}

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
	}
}

// set takes what the kernel sent of a process. A program that renamed itself keeps its
// executable.
func (p *Processes) set(e *Event) {
	entry := p.byTask[e.Task]
	if entry == nil {
		entry = new(processEntry)
		p.byTask[e.Task] = entry
	} else if !e.Exec {
		e.Process.Exe = entry.process.Exe
	}
	*entry = processEntry{process: e.Process}
}

// setExe takes the executable of a process that was just set.
func (p *Processes) setExe(e *Event) {
	if entry := p.byTask[e.Task]; entry != nil {
		known := *entry.process
		known.Exe = e.Process.Exe
		entry.process = &known
	}
}

// get returns the process. nil: the kernel's record of it was lost.
func (p *Processes) get(task uint32) *snapshot.Process {
	if e := p.byTask[task]; e != nil {
		return e.process
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
// the kernel forget the rest. Call it when every event was applied.
func (p *Processes) Trim() {
	if len(p.byTask) <= p.limit {
		return
	}
	for task, e := range p.byTask {
		if e.forgotten {
			delete(p.byTask, task)
			continue
		}
		e.forgotten = true
		p.forget(task)
	}
}
