package table

import (
	"bytes"
	"slices"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// acceptGrace is how long a connection may take to be accepted, or to end,
// before its owner is looked for.
const acceptGrace = uint64(100 * time.Millisecond)

// Owners attributes sockets to processes: to the one that called connect, listen or
// accept, or to nobody.
type Owners struct {
	cfg        *Config
	rows       *rows
	life       *life
	scan       *scan
	procs      *Processes
	mptcp      map[uint64]*snapshot.Process // of the scan under way, by inode
	found      foundOwners
	unaccepted pruned // no hook reports who accepted them
	heirs      pruned // rows with the owner of their listener
}

// inherit makes r an incoming connection, with the owner of its listener. key is that
// of the listener that the kernel named; 0: it named none.
func (o *Owners) inherit(r *row, key uint64) {
	r.Direction = Incoming
	r.Inode = 0
	l := o.listener(r, key)
	if key == 0 && o.scan.state != scanInitial { // else some listeners are not known yet
		l = o.rows.listeners.of(r)
	}
	if l == nil || !l.bound() || r.Remote.Port() == 0 {
		return
	}
	if !r.HasUID { // the kernel copies it from the listener
		r.UID, r.HasUID = l.UID, l.HasUID
	}
	if r.CgroupID == 0 {
		r.CgroupID = l.CgroupID
	}
	if l.Owner.Process != nil {
		r.Owner = l.Owner
		r.Owner.Source = snapshot.OwnerListener
		r.listener = l.listener
		o.addHeir(r)
	}
}

// listener returns the listener of a key that the kernel named for a connection, or nil. It
// may have got its cookie since its last event.
func (o *Owners) listener(r *row, key uint64) *row {
	l := o.rows.byKey[key]
	if l != nil || key == 0 || !o.cfg.LateCookies {
		return l
	}
	for _, bound := range o.rows.listeners.byPort[r.port()] {
		if bound.Cookie == key {
			return bound
		}
	}
	return nil
}

// addHeir remembers that r has the owner of its listener.
func (o *Owners) addHeir(r *row) {
	o.heirs.makeRoom((*row).inherited)
	o.heirs.add(r)
}

// inherited reports whether the owner of r is that of its listener.
func (r *row) inherited() bool {
	return r.Owner.Source == snapshot.OwnerListener && r.stage != stageNone
}

// disinherit takes the owner from r that it has from a listener which is gone: another
// one may have taken it over (net.ipv4.tcp_migrate_req).
func (o *Owners) disinherit(r *row) {
	if r.inherited() && o.rows.listeners.byNumber[r.listener] == nil {
		o.disown(r)
	}
}

func (o *Owners) disown(r *row) {
	r.Owner, r.CgroupID, r.listener = snapshot.Owner{}, 0, 0
}

// relisten handles a request whose timer was started again, perhaps by another listener
// that took it over.
func (o *Owners) relisten(r *row, key uint64) {
	if l := o.listener(r, key); r.inherited() && key != 0 && (l == nil || l.listener != r.listener) {
		o.disown(r)
		o.inherit(r, key)
	}
}

// settleHeirs takes the owner from the connections that survived their listener. The
// kernel closes what waits in the queue of a listener right after its end, unless
// another listener takes that over (inet_csk_listen_stop,
// net/ipv4/inet_connection_sock.c): what survives is not known to be of its process.
func (o *Owners) settleHeirs(now uint64) {
	ended := o.rows.listeners.ended
	n := 0
	for n < len(ended) && now >= ended[n].at+dyingGrace {
		n++
	}
	if n == 0 {
		return
	}
	o.heirs.visit(func(ref *rowRef) bool {
		r := ref.row
		survived := func(l endedListener) bool { return r.listener == l.number }
		if r.inherited() && slices.ContainsFunc(ended[:n], survived) {
			o.disown(r)
			o.life.ownerChanged(r, now)
		}
		return r.inherited()
	})
	o.rows.listeners.ended = slices.Delete(ended, 0, n)
}

// set makes the calling process the owner. If the record of the process was lost, the
// socket is nobody's: whose it was before does not count any more.
func (o *Owners) set(r *row, e *Event, source snapshot.OwnerSource) {
	r.Owner = snapshot.Owner{}
	if p := o.procs.get(e.Task, e.Known); p != nil {
		r.Owner = snapshot.Owner{Process: p, TID: e.TID, Source: source}
		if name, _, _ := bytes.Cut(e.Thread[:], []byte{0}); string(name) != p.Comm {
			r.Owner.Thread = e.Thread
		}
	}
	if e.CgroupID != 0 {
		r.CgroupID = e.CgroupID
	}
}

// setSocket makes the process that called connect, listen or accept the owner.
func (o *Owners) setSocket(r *row, e *Event) {
	o.set(r, e, snapshot.OwnerSocket)
	r.Inode = uint64(e.Inode)
	r.setUID(e)
}

// useContext makes the process whose call led to e the owner, unless a better one is
// known. The kernel names it only where no hook reports who accepts.
func (o *Owners) useContext(r *row, e *Event) {
	if o.cfg.OwnersByUse && o.unsure(r) && o.procs.get(e.Task, e.Known) != nil {
		o.set(r, e, snapshot.OwnerContext)
	}
}

// useFile makes a process with an open file of the socket the owner, unless a
// better one is known.
func (o *Owners) useFile(e *Event) {
	if e.MPTCP { // by inode, once all rows are known
		if o.mptcp[uint64(e.Inode)] == nil { // the first one, as netstat
			o.mptcp[uint64(e.Inode)] = o.procs.ofFile(e)
		}
		return
	}
	r := o.rows.ofFull(e)
	if r != nil {
		o.learnFile(r, e)
	}
	switch {
	case r != nil && o.unsure(r):
		o.find(r, o.procs.ofFile(e), e.Time)
	case r == nil && o.cfg.SeekOwners && o.cfg.Kept != nil && o.cfg.Kept(e.Cookie):
		o.found.add(e.Cookie, o.procs.ofFile(e))
	}
}

// learnFile takes what the file of a connection shows that was accepted: whose the socket is
// since, for one. The iterator holds the file while its record is written
// (task_file_seq_get_next, kernel/bpf/task_iter.c, 5.10 to 7.2): what close() leads to comes
// after that.
func (o *Owners) learnFile(r *row, e *Event) {
	if r.Inode != 0 {
		return
	}
	setInode(o.rows, r, e.Inode)
	r.setUID(e)
	if r.CgroupID == 0 {
		r.CgroupID = e.CgroupID
	}
}

// find makes a process that was found by its files the owner.
func (o *Owners) find(r *row, p *snapshot.Process, at uint64) {
	r.Owner = snapshot.Owner{Process: p, Source: snapshot.OwnerFiles}
	if o.scan.state != scanInitial || r.StartKnown { // else the initial table reports it
		o.life.ownerChanged(r, at)
	}
}

// unsure reports whether the owner was neither seen nor found by its files.
func (o *Owners) unsure(r *row) bool {
	return r.Owner.Source == snapshot.OwnerUnknown || r.Owner.Source >= snapshot.OwnerListener
}

// EndFiles ends a look at the open files, after its last EventFile. It reports whether there are
// files of MPTCP sockets of which the table knows no subflow: a scan shows their inodes.
func (o *Owners) EndFiles(now uint64) (unknown bool) {
	unknown = o.findSubflows(now)
	clear(o.mptcp)
	o.procs.endScan()
	o.found.endScan()
	return unknown
}

// findSubflows finds the owners of the subflows of MPTCP sockets, which have the inode of
// the MPTCP socket's file (mptcp_subflow_create_socket and mptcp_sock_graft, net/mptcp). It
// reports whether some file has none.
func (o *Owners) findSubflows(now uint64) (missing bool) {
	if len(o.mptcp) == 0 {
		return false
	}
	with := make(map[uint64]bool)
	for r := range o.rows.all {
		p := o.mptcp[r.Inode]
		if p == nil || r.Inode == 0 {
			continue
		}
		with[r.Inode] = true
		if o.unsure(r) {
			o.find(r, p, now)
		}
	}
	return len(with) < len(o.mptcp)
}

// accepted puts r in the list of those whose owner has to be looked for.
func (o *Owners) accepted(r *row, at uint64) {
	o.unaccepted.makeRoom((*row).unaccepted)
	o.unaccepted.addAt(r, at+acceptGrace)
}

// unaccepted reports whether r may have been accepted by a process that is not known.
func (r *row) unaccepted() bool {
	known := r.Inode != 0 && r.Owner.Source != snapshot.OwnerListener && r.Owner.Source != snapshot.OwnerUnknown
	return r.stage == stageFull && !known
}

// Due reports whether the owner of some accepted connection should be looked for, among the
// open files. The longer a connection stays unaccepted, the longer until it is looked for again.
func (o *Owners) Due(now uint64) bool {
	due := false
	o.unaccepted.visit(func(ref *rowRef) bool {
		if !ref.row.unaccepted() {
			return false
		}
		if now >= ref.due {
			due = true
			ref.due = now + 2*(now-ref.row.Start)
		}
		return true
	})
	return due
}

// Deadline returns when Due may report true at the earliest.
func (o *Owners) Deadline() uint64 {
	due := Never
	for ref := range o.unaccepted.all {
		due = min(due, ref.due)
	}
	return due
}

// fill asks find for the owner of every socket that has none, by its inode.
func (o *Owners) fill(find func(inode uint64) *snapshot.Process) {
	for r := range o.rows.all {
		if r.Inode == 0 || r.Owner.Process != nil {
			continue
		}
		if p := find(r.Inode); p != nil {
			o.find(r, p, r.last)
		}
	}
}
