package summary

import (
	"math"
	"math/bits"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// amount is what is known of the values of a field. The percentiles come from a sketch
// whose buckets are less than 1 % wide (two digits), so that they are that near to a
// value of their rank. Sketches merge without a loss.
type amount struct {
	n, sum, least, most uint64
	sketch              *hdrhistogram.PackedHistogram // nil: no percentile is asked for, or there is no value yet
	sketched            bool
}

const sketchDigits = 2

// newAmounts returns a place for each field that is measured.
func newAmounts(spec *Spec) []amount {
	list := make([]amount, len(spec.fields))
	for _, m := range spec.measures {
		if m.op == opQuantile {
			list[m.of].sketched = true
		}
	}
	return list
}

func (a *amount) add(v uint64) {
	if a.n == 0 || v < a.least {
		a.least = v
	}
	a.most = max(a.most, v)
	a.n++
	a.sum = saturated(a.sum, v)
	if !a.sketched {
		return
	}
	if a.sketch == nil {
		a.sketch = newSketch()
	}
	// No value is out of its range.
	_ = a.sketch.RecordValue(int64(min(v, math.MaxInt64)))
}

func newSketch() *hdrhistogram.PackedHistogram {
	return hdrhistogram.NewPacked(1, math.MaxInt64, sketchDigits)
}

// merge adds what is known of other values.
func (a *amount) merge(other *amount) {
	if other.n == 0 {
		return
	}
	if a.n == 0 || other.least < a.least {
		a.least = other.least
	}
	a.most = max(a.most, other.most)
	a.n += other.n
	a.sum = saturated(a.sum, other.sum)
	if other.sketch == nil {
		return
	}
	if a.sketch == nil {
		a.sketch = newSketch()
	}
	a.sketch.Merge(other.sketch)
}

// saturated adds without a wrap.
func saturated(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}

func (a *amount) reset() {
	sketch := a.sketch
	if sketch != nil {
		sketch.Reset()
	}
	*a = amount{sketch: sketch, sketched: a.sketched}
}

// quantile returns the value that so many percent of the values are not above.
func (a *amount) quantile(percent float64) uint64 {
	v := uint64(a.sketch.ValueAtPercentile(percent))
	return min(max(v, a.least), a.most)
}
