package metrics

import (
	"strconv"
	"strings"
)

// text is an answer in the exposition format of Prometheus, version 0.0.4.
type text struct{ buf []byte }

// The types of families.
const (
	counter    = "counter"
	gauge      = "gauge"
	histograms = "histogram"
)

// family begins a family: its samples follow.
func (t *text) family(name, kind, help string) {
	t.buf = append(t.buf, "# HELP "...)
	t.buf = append(t.buf, name...)
	t.buf = append(t.buf, ' ')
	t.buf = append(t.buf, helpEscapes.Replace(help)...)
	t.buf = append(t.buf, "\n# TYPE "...)
	t.buf = append(t.buf, name...)
	t.buf = append(t.buf, ' ')
	t.buf = append(t.buf, kind...)
	t.buf = append(t.buf, '\n')
}

// label is a pair of a sample.
type label struct{ name, value string }

// count adds a sample that is a whole number.
func (t *text) count(name string, value uint64, labels ...label) {
	t.head(name, labels)
	t.buf = strconv.AppendUint(t.buf, value, 10)
	t.buf = append(t.buf, '\n')
}

// number adds a sample.
func (t *text) number(name string, value float64, labels ...label) {
	t.head(name, labels)
	t.buf = strconv.AppendFloat(t.buf, value, 'f', -1, 64)
	t.buf = append(t.buf, '\n')
}

// one adds a family of one sample that is a whole number.
func (t *text) one(name, kind, help string, value uint64) {
	t.family(name, kind, help)
	t.count(name, value)
}

func (t *text) head(name string, labels []label) {
	t.buf = append(t.buf, name...)
	for i, l := range labels {
		t.buf = append(t.buf, "{,"[min(i, 1)])
		t.buf = append(t.buf, l.name...)
		t.buf = append(t.buf, `="`...)
		t.buf = append(t.buf, valueEscapes.Replace(l.value)...)
		t.buf = append(t.buf, '"')
	}
	if len(labels) > 0 {
		t.buf = append(t.buf, '}')
	}
	t.buf = append(t.buf, ' ')
}

// histogram adds a family of times, in seconds.
func (t *text) histogram(name, help string, h *histogram) {
	t.family(name, histograms, help)
	total := uint64(0)
	for i := range h.buckets {
		total += h.buckets[i].Load()
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = strconv.FormatFloat(seconds(h.bounds[i]), 'f', -1, 64)
		}
		t.count(name+"_bucket", total, label{"le", bound})
	}
	t.number(name+"_sum", seconds(h.sum.Load()))
	t.count(name+"_count", total)
}

func seconds(ns uint64) float64 { return float64(ns) / float64(second) }

var (
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	valueEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)
