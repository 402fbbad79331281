package table

// initialTable is what was there before the tracer: the rows of the initial scan,
// each in the state in which it was seen first. What has happened since is
// reported as changes, after the table.
type initialTable struct {
	index *rows
	rows  []listedRow
}

// listedRow is a row of the initial table. The inode is the one it had when it was
// listed.
type listedRow struct {
	row   *row
	inode uint32
}

func (t *initialTable) open() {
	t.rows = make([]listedRow, 0, 64)
	t.index.store.keepListed = true
}

// list adds a row, unless its connection began while it was traced.
func (t *initialTable) list(r *row) {
	if r.listed || r.StartKnown {
		return
	}
	r.listed = true
	t.rows = append(t.rows, listedRow{r, uint32(r.Inode)})
}

// complete adds what is known only after the last row: rows that events alone
// have reported.
func (t *initialTable) complete() {
	for r := range t.index.all {
		t.list(r)
	}
}

// InitialRows yields the initial table. A row is valid until the next one.
func (t *Table) InitialRows(yield func(*Conn) bool) {
	for _, l := range t.initial.rows {
		conn := l.row.Conn
		conn.State, conn.Inode = l.row.firstSeen, uint64(l.inode)
		if !yield(&conn) {
			return
		}
	}
}

// EndInitial drops the initial table, once it was reported.
func (t *Table) EndInitial() {
	t.initial.rows = nil
	t.rows.store.freeListed()
	t.rows.timewaits.open = t.cfg.Kept == nil // else nothing more is told of them
	t.rows.packAll()
}
