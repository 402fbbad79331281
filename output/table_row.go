package output

import "strconv"

// tableRow is a buffer to which a line of a table is appended.
type tableRow []byte

// text adds s as it is.
func (r *tableRow) text(s string) { *r = append(*r, s...) }

// left adds s at the left of a column.
func (r *tableRow) left(s string, width int) { *r = appendLeft(*r, s, width) }

// right adds s at the right of a column.
func (r *tableRow) right(s string, width int) {
	*r = padTo(*r, len(*r)+width-len(s))
	r.text(s)
}

// leftInt and rightInt add a decimal number.
func (r *tableRow) leftInt(v int64, width int) {
	start := len(*r)
	*r = padTo(strconv.AppendInt(*r, v, 10), start+width)
}

func (r *tableRow) rightInt(v int64, width int) { *r = appendIntRight(*r, v, width) }

// uint adds a decimal number after a label.
func (r *tableRow) uint(label string, v uint64) {
	*r = strconv.AppendUint(append(*r, label...), v, 10)
}

// newline ends a line of several.
func (r *tableRow) newline() { *r = append(*r, '\n') }

// line returns the row with its newline.
func (r *tableRow) line() []byte { return append(*r, '\n') }
