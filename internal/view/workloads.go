package view

import (
	"github.com/nettrace/nettrace/internal/container"
	"github.com/nettrace/nettrace/snapshot"
)

// workloads has what processes run in, in one round. It reads that when a process is
// asked for.
type workloads struct {
	proc  string
	host  *container.Host
	known map[int]*snapshot.Workload // by number of the process
}

// Of returns what a process runs in, or nil if that is not known.
func (w *workloads) Of(p *snapshot.Process) *snapshot.Workload {
	if w.host == nil {
		w.host, w.known = container.NewHost(w.proc, "", ""), map[int]*snapshot.Workload{}
	}
	known, ok := w.known[p.PID]
	if !ok {
		known = w.host.Process(p.PID).Workload
		w.known[p.PID] = known
	}
	return known
}
