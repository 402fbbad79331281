package table

import "github.com/nettrace/nettrace/snapshot"

// Config is what the table has to know of its sources. It does not change.
type Config struct {
	ReportsPort  bool // a hook reports the local port that connect and listen choose
	LateConnects bool // a connect is reported once it has its port, so not if it fails before
	CanScan      bool // the kernel's table can be scanned
	LateCookies  bool // programs cannot ask for a cookie: a socket has none until its row was read
	SeekOwners   bool // no hook reports who accepts; a scan of open files finds owners
	RealTime     bool // PREEMPT_RT: other tasks run in the middle of a softirq
	RefreshMinis bool // no hook reports FIN_WAIT2 -> TIME_WAIT; see NextFinWait2
	UnseenMinis  bool // no hook reports request and timewait sockets: scans alone show them
	ScansOnly    bool // there are no events
	OwnersByUse  bool // no hook reports who accepts; each call on a socket names its process
	Resets       bool // a hook reports each RST that is sent
	Connects     bool // a hook reports each connect that fails at once

	Condition *snapshot.Condition // sockets that do not fulfil it are left out; nil: none is

	Keeping
}

// Keeping says what the kernel side keeps where closes alone are reported; see Story.
type Keeping struct {
	Kept  func(cookie uint64) bool // whether it keeps a connection; nil: it keeps none
	Since uint64                   // what began before is not known to it
	Fails bool                     // connections that failed alone are reported: no timewait sockets
}

// Stats counts what happened to the table. A connection counts from the first report
// of it to that of its close: a listener is none, nor is what is left in TIME_WAIT.
// At all times Before + Opened = Closed + Open.
type Stats struct {
	Open     uint64 // connections that are open now
	Before   uint64 // connections that were open in the initial table
	Opened   uint64 // connections that began, or appeared, since
	Closed   uint64 // connections that ended
	Failed   uint64 // those of them that were never established
	Reported uint64 // changes reported
}

// Table keeps every TCP socket that is traced: the kernel's table and the events
// merged. It is fed by one goroutine, in the order of the ring buffer.
//
// Its parts depend on those before them only: rows, life, owners, minis, fulls.
// What the kernel's table shows (scan, initial) is merged on top of them (merger).
type Table struct {
	cfg     *Config
	rows    *rows
	life    *life
	owners  *Owners
	minis   *minis
	fulls   *fulls
	scan    *scan
	initial *initialTable
	merger  *merger
	step    Event // of a story
}

// New returns an empty table. It passes every change to report; the Change is
// valid during the call.
func New(cfg Config, procs *Processes, report func(*Change)) *Table {
	index := newRows(&cfg)
	t := &Table{
		cfg:     &cfg,
		rows:    index,
		life:    &life{cfg: &cfg, rows: index, report: report},
		scan:    &scan{},
		initial: &initialTable{index: index},
	}
	t.owners = &Owners{
		cfg: &cfg, rows: index, life: t.life, scan: t.scan, procs: procs,
		mptcp: make(map[uint64]*snapshot.Process),
	}
	if cfg.Kept != nil {
		index.listeners.former = make(map[uint64]*former)
		procs.keepFormer = true
	}
	t.minis = &minis{
		cfg: &cfg, rows: index, life: t.life, owners: t.owners, scan: t.scan,
	}
	t.fulls = &fulls{
		cfg: &cfg, rows: index, life: t.life, owners: t.owners, minis: t.minis, scan: t.scan, initial: t.initial,
	}
	t.merger = &merger{
		cfg: &cfg, rows: index, life: t.life, minis: t.minis, fulls: t.fulls, scan: t.scan, initial: t.initial,
	}
	return t
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	s := t.life.stats
	s.Open = s.Before + s.Opened - s.Closed
	return s
}

// Len returns the number of sockets.
func (t *Table) Len() int { return t.rows.len() }

// All yields every socket, in no order. Each is valid until the next one.
func (t *Table) All(yield func(*Conn) bool) {
	for r := range t.rows.all {
		if !yield(&r.Conn) {
			return
		}
	}
	for conn := range t.rows.timewaits.conns {
		if !yield(conn) {
			return
		}
	}
}

// Apply merges one event into the table.
func (t *Table) Apply(e *Event) {
	if t.unwanted(e) {
		return
	}
	if e.CPU != 0 {
		t.minis.decide(e)
		t.fulls.decideNext(e)
	}
	switch e.Kind {
	case EventState:
		t.fulls.apply(e)
	case EventMissed:
		t.fulls.applyMissed(e)
	case EventPort:
		t.applyPort(e)
	case EventAccept:
		if r := t.full(e); r != nil {
			t.owners.setSocket(r, e)
			r.last = e.Time
		}
	case EventRelease:
		if r := t.rows.ofFull(e); r != nil && r.State != snapshot.Listen {
			r.Inode, r.last = 0, e.Time
		}
	case EventFile:
		t.owners.useFile(e)
	case EventMiniBorn:
		t.minis.born(e)
	case EventMiniGone:
		t.minis.gone(e)
	case EventMiniState:
		t.minis.change(e)
	case EventRow:
		t.merger.applyRow(e)
	case EventProcess:
		t.owners.procs.set(e)
	case EventExe:
		t.owners.procs.setExe(e)
	default:
		t.applyReason(e)
	}
}

// applyReason handles what says no more than why a connection ends.
func (t *Table) applyReason(e *Event) {
	switch e.Kind {
	case EventResetSent:
		if e.Old == snapshot.TimeWait {
			t.minis.reset(e)
			return
		}
		t.fulls.reset(e)
	case EventConnectFailed:
		t.fulls.connectFailed(e)
	case EventResetCame:
		t.minis.reset(e)
	case EventMiniExpired:
		t.minis.expired(e)
	}
}

// full returns the full socket of an event that has its addresses, or nil. It may be one
// that only a row of /proc has shown.
func (t *Table) full(e *Event) *row {
	r := t.rows.ofFull(e)
	if r != nil {
		return r
	}
	r = t.rows.ofTuple(e)
	if r == nil || r.stage != stageProc || r.isMini() {
		return nil
	}
	t.fulls.add(r, e)
	return r
}

// applyPort handles the report of a local port.
func (t *Table) applyPort(e *Event) {
	if r := t.full(e); r != nil {
		t.rows.setLocal(r, e)
		t.life.portKnown(r)
	}
}

// Settle decides what silence decides. now is the kernel's clock at a moment up
// to which every event was applied.
func (t *Table) Settle(now uint64) {
	t.fulls.settleMissed()
	t.owners.settleHeirs(now)
	t.life.settlePorts(now)
	t.minis.settleUnclaimed(now)
	t.minis.settleDying(now)
	t.fulls.settleUndecided(now)
	t.minis.dropTold()
	t.rows.listeners.forgetFormer(now)
}

// Finish settles everything: no event will come after now.
func (t *Table) Finish(now uint64) { t.Settle(now + max(dyingGrace, connectGrace)) }

// Pending returns how many connections wait for a scan to show how they ended.
func (t *Table) Pending() int { return len(t.rows.pending) }

// TakeScanRequest reports whether the table needs a scan of the kernel's table
// to settle what is pending. It reports each request once.
func (t *Table) TakeScanRequest() bool {
	wanted := t.scan.wanted
	t.scan.wanted = false
	return wanted
}

// FinWait2 returns how many timewait sockets NextFinWait2 goes through. A few of
// them may have left FIN_WAIT2 already.
func (t *Table) FinWait2() int { return t.minis.finWait2.length }

// NextFinWait2 passes up to most timewait sockets in FIN_WAIT2 to look, those not
// looked at for longest first. It is empty unless Config.RefreshMinis is set.
func (t *Table) NextFinWait2(most int, look func(sock, cookie uint64)) {
	t.minis.nextFinWait2(most, look)
}

// Owners returns the part of the table that knows whose the sockets are.
func (t *Table) Owners() *Owners { return t.owners }

// FillOwners asks find for the owner of every socket that has none, by its inode.
// find returns nil where it finds nobody.
func (t *Table) FillOwners(find func(inode uint64) *snapshot.Process) { t.owners.fill(find) }
