package output

import "io"

// streamRows is the text that waits to be written. Its last row may be open. What
// is appended to buf counts as one cell a byte, as printable ASCII does; counted
// corrects that for other text.
type streamRows struct {
	buf  []byte
	base int // len(buf) less the cells that the last row takes on a terminal
}

// at returns the cells of the last row.
func (r *streamRows) at() int { return len(r.buf) - r.base }

// to appends blanks up to a column, or up to the next place, step cells further
// each, if what is there already has passed it.
func (r *streamRows) to(column, step int) {
	for n := r.next(column, step) - r.at(); n > 0; n -= len(blanks) {
		r.buf = append(r.buf, blanks[:min(n, len(blanks))]...)
	}
}

const blanks = "                                "

// next returns where a column would begin. There is a blank before it.
func (r *streamRows) next(column, step int) int {
	at := r.at()
	for at > 0 && column <= at {
		column += step
	}
	return column
}

// counted counts the cells of what was appended from start on.
func (r *streamRows) counted(start int) {
	r.base += len(r.buf) - start - cellsOf(r.buf[start:])
}

// cut shortens what was appended from start on to so many cells.
func (r *streamRows) cut(start, cells int) {
	r.buf = r.buf[:start+len(cutCells(r.buf[start:], cells))]
}

// mark appends what takes no cells.
func (r *streamRows) mark(sequence string) {
	r.buf = append(r.buf, sequence...)
	r.base += len(sequence)
}

func (r *streamRows) newline() {
	r.buf = append(r.buf, '\n')
	r.base = len(r.buf)
}

// drop removes the first n bytes. No row may be open.
func (r *streamRows) drop(n int) {
	r.buf = r.buf[:copy(r.buf, r.buf[n:])]
	r.base = len(r.buf)
}

// flush writes what waits. What an error of the io.Writer left unwritten is kept. No
// row may be open.
func (r *streamRows) flush(out io.Writer) error {
	if len(r.buf) == 0 {
		return nil
	}
	n, err := out.Write(r.buf)
	if n < len(r.buf) && err == nil {
		err = io.ErrShortWrite
	}
	r.drop(n)
	return err
}
