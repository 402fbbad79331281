// Package bytesize reads numbers of bytes as users write them: 4096, 64K, 16M, 2G.
package bytesize

import (
	"math"
	"strconv"
	"strings"
)

const suffixes = "KMGT" // powers of 1024

// Parse reads a number of bytes with an optional suffix K, M, G or T. It takes zero,
// and nothing below it.
func Parse(text string) (size int64, ok bool) {
	digits, shift := text, 0
	if text != "" {
		if i := strings.IndexByte(suffixes, text[len(text)-1]); i >= 0 {
			digits, shift = text[:len(text)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, false
	}
	return int64(n) << shift, true
}
