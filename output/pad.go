package output

import "strconv"

// Widths count bytes, as in C: a name may hold any bytes.

// padTo appends spaces until dst has a length.
func padTo(dst []byte, length int) []byte {
	for len(dst) < length {
		dst = append(dst, ' ')
	}
	return dst
}

// appendLeft appends a text at the left of a column. What is longer widens it.
func appendLeft(dst []byte, text string, width int) []byte {
	start := len(dst)
	return padTo(append(dst, text...), start+width)
}

// appendIntRight appends a number at the right of a column.
func appendIntRight(dst []byte, n int64, width int) []byte {
	var b [20]byte
	digits := strconv.AppendInt(b[:0], n, 10)
	dst = padTo(dst, len(dst)+width-len(digits))
	return append(dst, digits...)
}
