package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report writes Markdown, and counts the budgets.
type report struct {
	w           io.Writer
	met, missed int
	err         error // the first one of w
}

func (r *report) printf(format string, args ...any) {
	if r.err == nil {
		_, r.err = fmt.Fprintf(r.w, format, args...)
	}
}

func (r *report) heading(text string)   { r.printf("## %s\n\n", text) }
func (r *report) paragraph(text string) { r.printf("%s\n\n", text) }

// table writes a table. All columns but the first are aligned to the right.
func (r *report) table(title string, header []string, rows [][]string) {
	r.printf("### %s\n\n", title)
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)), 2)
		}
	}
	line := func(cells []string) {
		var b strings.Builder
		for i, w := range widths {
			cell := ""
			if i < len(cells) {
				cell = cells[i]
			}
			pad := strings.Repeat(" ", w-len([]rune(cell)))
			if i == 0 {
				b.WriteString("| " + cell + pad + " ")
			} else {
				b.WriteString("| " + pad + cell + " ")
			}
		}
		r.printf("%s|\n", b.String())
	}
	line(header)
	rule := []string{strings.Repeat("-", widths[0])}
	for _, w := range widths[1:] {
		rule = append(rule, strings.Repeat("-", w-1)+":")
	}
	line(rule)
	for _, row := range rows {
		line(row)
	}
	r.printf("\n")
}

// budget returns two cells: the limit of a figure, and whether it is met.
func (r *report) budget(figure, limit float64, text string) []string {
	if figure <= limit {
		r.met++
		return []string{"≤ " + text, "met"}
	}
	r.missed++
	return []string{"≤ " + text, "**missed**"}
}

func (r *report) summary() {
	if r.met+r.missed > 0 {
		r.printf("%d of %d budgets met.\n", r.met, r.met+r.missed)
	}
}

// median returns the median of some numbers, or NaN if there are none.
func median(numbers []float64) float64 {
	if len(numbers) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(numbers))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// medianOf returns the median of f over all items.
func medianOf[T any](items []T, f func(T) float64) float64 {
	var numbers []float64
	for _, item := range items {
		numbers = append(numbers, f(item))
	}
	return median(numbers)
}

// medianRatio divides a's figure by b's of the same round and returns the median
// of these ratios. A disturbance that lasts longer than a round cancels out.
func medianRatio[T any](a, b []T, f func(T) float64) float64 {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		ratios = append(ratios, f(a[i])/f(b[i]))
	}
	return median(ratios)
}

// number writes a number with at least three digits and without an exponent.
func number(x float64) string {
	switch abs := math.Abs(x); {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "?"
	case abs >= 99.95:
		return thousands(int64(math.Round(x)))
	case abs >= 9.995:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case abs >= 0.0995 || x == 0:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
	return strconv.FormatFloat(x, 'f', 3, 64)
}

// thousands writes an integer with a comma every three digits.
func thousands[N ~int | ~int64 | ~uint64](n N) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func percent(ratio float64) string { return number(100*ratio) + " %" }

func milliseconds(d float64) string { return number(d/float64(time.Millisecond)) + " ms" }

func mebibytes(bytes uint64) string { return number(float64(bytes)/(1<<20)) + " MiB" }
