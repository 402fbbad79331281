// Package fieldlist reads lists of the fields of records, as --fields takes them.
package fieldlist

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
)

// Vocabulary is what a list may name.
type Vocabulary struct {
	Known    []string                   // all fields
	Standard []string                   // those that are shown without a list, in their order
	Group    func(name string) []string // the fields that a name stands for; nil: it is a field or unknown
	Groups   []string                   // the names that Group knows
}

// Parse reads a list of names separated by commas. It returns the fields in the order
// of the list. Where names have a sign, + or -, they add to the standard and take from
// it. The error says what is wrong with the list.
func (v *Vocabulary) Parse(list string) ([]string, error) {
	words := strings.Split(list, ",")
	signed := 0
	var chosen []string
	for _, word := range words {
		if isSigned(word) {
			signed++
		}
	}
	switch signed {
	case 0:
	case len(words):
		chosen = slices.Clone(v.Standard)
	default:
		return nil, errors.New("names with + or - change what is shown by default, others replace it: not both in one list")
	}
	for _, word := range words {
		sign := byte('+')
		if isSigned(word) {
			sign, word = word[0], word[1:]
		}
		names, err := v.fieldsOf(word)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			chosen = change(chosen, sign, name)
		}
	}
	return chosen, nil
}

func isSigned(word string) bool { return word != "" && (word[0] == '+' || word[0] == '-') }

// change adds a name to a list, or takes it out.
func change(list []string, sign byte, name string) []string {
	at := slices.Index(list, name)
	switch {
	case sign == '-' && at >= 0:
		return slices.Delete(list, at, at+1)
	case sign == '+' && at < 0:
		return append(list, name)
	}
	return list
}

// fieldsOf returns the fields that a word names.
func (v *Vocabulary) fieldsOf(word string) ([]string, error) {
	if v.Group != nil {
		if names := v.Group(word); names != nil {
			return names, nil
		}
	}
	if slices.Contains(v.Known, word) {
		return []string{word}, nil
	}
	if word == "" {
		return nil, errors.New("a name is missing")
	}
	return nil, Unknown("field", word, slices.Concat(v.Known, v.Groups))
}

// Unknown returns the error for a word that is no name of a kind of thing, with the
// names that are near it: a mistyped one, or one of which the word is a part.
func Unknown(kind, word string, names []string) error {
	near := field.Nearest(word, names)
	for _, name := range names {
		if len(near) == 0 && len(word) > 1 && (strings.HasPrefix(name, word) || strings.HasSuffix(name, "_"+word)) {
			near = []string{name}
		}
	}
	if len(near) > 0 {
		return fmt.Errorf("no %s '%s', near: %s", kind, word, strings.Join(near, ", "))
	}
	return fmt.Errorf("no %s '%s'; there are %s", kind, word, strings.Join(names, ", "))
}
