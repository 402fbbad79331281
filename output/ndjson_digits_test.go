package output

import (
	"math"
	"strconv"
	"testing"
)

// sameDigits fails a test unless a number is written as strconv writes it.
func sameDigits(t *testing.T, v uint64) {
	t.Helper()
	if got, want := string(appendUint([]byte("x"), v)), "x"+strconv.FormatUint(v, 10); got != want {
		t.Fatalf("%d is written as %s", v, got)
	}
}

// TestDigits writes all numbers of up to five digits, those around the powers of 2 and of 10,
// and numbers of all lengths that have each group of four digits there is.
func TestDigits(t *testing.T) {
	for v := range uint64(100_000) {
		sameDigits(t, v)
	}
	for group := range uint64(10_000) {
		for power := uint64(1); power <= 1e16; power *= 100 {
			sameDigits(t, (group|1)*power)
			sameDigits(t, group*power+power/7)
		}
	}
	for near := range uint64(200) {
		for shift := range 64 {
			sameDigits(t, 1<<shift-100+near)
		}
		for power := uint64(10); power < math.MaxUint64/10; power *= 10 {
			sameDigits(t, power-100+near)
		}
		sameDigits(t, 1e19-100+near)
		sameDigits(t, math.MaxUint64-near)
	}
}

func FuzzDigits(f *testing.F) {
	f.Add(uint64(0))
	f.Add(uint64(99_999_999))
	f.Add(uint64(math.MaxUint64))
	f.Fuzz(sameDigits)
}

// TestDigitsHaveRoom writes numbers at the end of buffers with all amounts of room.
func TestDigitsHaveRoom(t *testing.T) {
	for room := range 30 {
		for _, v := range []uint64{0, 7, 42, 12_345, 99_999_999, 123_456_789, math.MaxUint64} {
			dst := append(make([]byte, 0, room+3), "abc"...)
			if got, want := string(appendUint(dst, v)), "abc"+strconv.FormatUint(v, 10); got != want {
				t.Errorf("%d is written as %s where there is room for %d bytes", v, got, room)
			}
		}
	}
}

// TestTimeDigits writes each microsecond of a second.
func TestTimeDigits(t *testing.T) {
	var text timeText
	for micros := range int64(1_000_000) {
		got := string(text.append(nil, micros*1000+999))
		if want := "1970-01-01T00:00:00." + strconv.FormatInt(1_000_000+micros, 10)[1:] + "Z"; got != want {
			t.Fatalf("%d us: got %s, want %s", micros, got, want)
		}
	}
}
