package output

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// appendUint appends v in decimal, as strconv.AppendUint does. A line has a dozen numbers,
// and they were a third of its cost: strconv makes two digits at a time, and copies them.
// Up to seven bytes behind the digits are written to, too, where dst has that capacity.
func appendUint(dst []byte, v uint64) []byte {
	if v < 10 {
		return append(dst, byte('0'+v))
	}
	if v >= 1e8 {
		dst = appendUint(dst, v/1e8)
		return binary.LittleEndian.AppendUint64(dst, eightDigits(v%1e8)|zeros)
	}
	// What comes next waits for the number of digits, not for the digits.
	n := digitsOf(v)
	dst = slices.Grow(dst, 8)
	binary.LittleEndian.PutUint64(dst[len(dst):len(dst)+8], (eightDigits(v)|zeros)>>(64-8*uint(n)))
	return dst[:len(dst)+n]
}

// zeros are eight digits 0.
const zeros = 0x3030303030303030

// eightDigits returns the digits of a number below 10^8, one in each byte, the first one in
// the lowest. It splits the number into halves of four digits, these into halves of two, and
// so on, all at once. n*10486>>20 is n/100 for each n below 10^4, and n*103>>10 is n/10 for
// each below 100.
func eightDigits(v uint64) uint64 {
	v = v/1e4 | v%1e4<<32
	upper := v * 10486 >> 20 & 0x7f_0000_007f
	v = upper | (v-upper*100)<<16
	upper = v * 103 >> 10 & 0xf_000f_000f_000f
	return upper | (v-upper*10)<<8
}

// powers are those of 10, by how many digits the numbers below them have.
var powers = [...]uint64{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// digitsOf returns how many digits a number from 1 to 10^8-1 has.
func digitsOf(v uint64) int {
	n := bits.Len64(v) * 1233 >> 12 // 1233/4096 is log 2: so many, or one more
	if v >= powers[n] {
		n++
	}
	return n
}
