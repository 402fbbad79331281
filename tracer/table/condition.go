package table

import "github.com/nettrace/nettrace/snapshot"

// unwanted reports whether e is about a socket that does not fulfil the condition of
// the run, and forgets it. The kernel side decides the same (bpf/wanted.h) and does
// not send most of them; it sends those whose local port it does not know yet.
func (t *Table) unwanted(e *Event) bool {
	if t.cfg.Condition == nil || !carriesTuple(e) {
		return false
	}
	head := snapshot.Head{Netns: e.Netns, Device: e.Device, Local: e.Local, Remote: e.Remote}
	if t.cfg.Condition.Admits(&head, unknownOf(e)) {
		return false
	}
	if r := t.rows.ofFull(e); r != nil {
		t.fulls.forget(r)
	}
	return true
}

// unknownOf returns what e does not say of its socket. One without a remote port is a
// listener.
func unknownOf(e *Event) snapshot.Unknown {
	var unknown snapshot.Unknown
	if e.Local.Port() == 0 {
		unknown |= 1 << snapshot.AtomLocalPort
	}
	if e.Remote.Port() == 0 {
		unknown |= snapshot.UnknownOfListener
	}
	return unknown
}

// carriesTuple reports whether e has both addresses of its socket.
func carriesTuple(e *Event) bool {
	switch e.Kind {
	case EventConnectFailed: // it has the address that connect was called with
		return false
	case EventMissed: // see applyMissed
		return e.Old == snapshot.SynRecv
	}
	return e.Local.Addr().IsValid() && e.Remote.Addr().IsValid()
}

// forget drops a row untold. Its last events may still come.
func (f *fulls) forget(r *row) {
	f.ended.add(r.key)
	f.life.discount(r)
	f.rows.remove(r)
}
