package field

import (
	"iter"
	"slices"
	"unicode/utf8"
)

const (
	nearMost    = 2  // edits that a mistyped name may be away
	nearShown   = 3  // names that a message shows
	nearLongest = 64 // a longer word is no mistyped name
)

// NearestOf returns what is shown of those names that a mistyped word is nearest to,
// at most three. An edit is a letter too much, too few, wrong, or swapped with its
// neighbour. Names that are further away than two edits, or than half of the word, are
// not near.
func NearestOf(word string, names iter.Seq2[string, string]) []string {
	if len(word) > nearLongest || !utf8.ValidString(word) {
		return nil
	}
	least := min(nearMost, (len(word)+1)/2)
	var shown []string
	for name, text := range names {
		switch d := edits(word, name, least); {
		case d > least:
		case d < least:
			least, shown = d, []string{text}
		case !slices.Contains(shown, text):
			shown = append(shown, text)
		}
	}
	return shown[:min(len(shown), nearShown)]
}

// Nearest is NearestOf for a list of names that are shown as they are.
func Nearest(word string, names []string) []string {
	return NearestOf(word, func(yield func(string, string) bool) {
		for _, n := range names {
			if !yield(n, n) {
				return
			}
		}
	})
}

// edits returns how many edits make b out of a, or more than most.
func edits(a, b string, most int) int {
	if abs(len(a)-len(b)) > most {
		return most + 1
	}
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}

func abs(n int) int { return max(n, -n) }
