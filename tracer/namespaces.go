package tracer

import "cmp"

// EachNamespace calls read in each network namespace that is traced and can be
// entered, on a thread that is in it: proc is the directory whose net/ shows it,
// inode its identity. It waits for the last one. The handler may call it.
func (t *Tracer) EachNamespace(read func(proc string, inode uint32) error) error {
	if t.scope.inode != 0 {
		return in(t.scope.other, func() error { return read(t.scope.proc(), t.scope.inode) })
	}
	done := make(chan error, 1)
	go func() { // which may leave its thread in another namespace
		_, err := t.scope.each(func(inode uint32) error { return read(t.scope.proc(), inode) })
		done <- err
	}()
	return <-done
}

// EachNamespace calls read for the one namespace that is polled, which is the
// caller's. Its rows know no inode of a namespace, so that is 0.
func (p *Poller) EachNamespace(read func(proc string, inode uint32) error) error {
	return read(cmp.Or(p.Proc, "/proc"), 0)
}
