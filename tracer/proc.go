package tracer

// procSnapshot reads the initial table from /proc, where no iterator loads.
func (t *Tracer) procSnapshot() {
	t.table.beginPass(monotonic(), true)
	t.table.endPass(monotonic())
	t.tellSnapshot()
}
