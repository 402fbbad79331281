package option

import (
	"math"
	"strconv"
	"strings"
)

// Size reads a number of bytes with an optional suffix K, M or G, powers
// of 1024, up to the largest int32.
func Size(text string) (size int, ok bool) {
	digits, shift := text, 0
	if i := strings.IndexAny("KMG", text[max(len(text)-1, 0):]); i >= 0 && text != "" {
		digits, shift = text[:len(text)-1], 10*(i+1)
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n == 0 || n<<shift > math.MaxUint32>>1 {
		return 0, false
	}
	return int(n) << shift, true
}
