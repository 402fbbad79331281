package output

import (
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
)

// file adds the user and the inode of a socket. The kernel gives the user 0 to
// a socket without a file: unknown, not root.
func (w socketRecords) file(uid uint32, inode uint64) {
	if uid != 0 || inode != 0 {
		w.user(uid)
	}
	w.inode(inode)
}

// holders adds the processes that hold a socket open: the one that netstat
// names, and the list of all if there are several.
func (w socketRecords) holders(inode uint64, owners *snapshot.Owners) {
	if owners == nil {
		return
	}
	p := owners.First(inode)
	if p == nil {
		return
	}
	w.uint(`,"pid":`, uint64(p.PID))
	w.str(`,"program":`, programName(p.Cmdline), textMax)
	w.word(`,"owner_src":`, "files")
	w.allHolders(inode, owners)
	w.str(`,"context":`, p.Context, textMax)
	if w.opts.Workloads != nil {
		w.workload(w.opts.Workloads.Of(p))
	}
	if w.opts.Cmdline {
		w.cmdline(p.Cmdline)
	}
}

// allHolders adds the processes that hold a socket if they are several.
func (w socketRecords) allHolders(inode uint64, owners *snapshot.Owners) {
	var pids, names []string
	for p := range owners.All(inode) {
		pids = append(pids, strconv.Itoa(p.PID))
		names = append(names, programName(p.Cmdline))
	}
	if len(pids) < 2 {
		return
	}
	w.array(`,"pids":`, pids, "", listMax)
	w.list(`,"programs":`, names, listMax)
}
