package fieldlist

import (
	"slices"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/output"
)

// Columns are those of the stream's text. standard are those that it shows without a
// list.
func Columns(standard []string) Vocabulary {
	return Vocabulary{Known: output.ColumnNames(), Standard: standard}
}

// Chosen returns what makes the columns of the stream's text of the standard ones; nil:
// the list is empty, and they stay. A list that is wrong chooses nothing.
func Chosen(list string) func(standard []string) []string {
	if list == "" {
		return nil
	}
	return func(standard []string) []string {
		v := Columns(standard)
		chosen, err := v.Parse(list)
		if err != nil {
			return standard
		}
		return chosen
	}
}

// Records are the fields of kinds of records.
func Records(kinds ...output.RecordKind) Vocabulary {
	known := output.RecordFields(kinds...)
	v := Vocabulary{Known: known, Standard: known}
	for _, name := range output.FieldGroups() {
		if slices.Contains(known, output.FieldGroup(name)[0]) {
			v.Groups = append(v.Groups, name)
		}
	}
	v.Group = func(name string) []string {
		if slices.Contains(v.Groups, name) {
			return output.FieldGroup(name)
		}
		return nil
	}
	return v
}

// Named returns the fields that a list asks for by name or by group: what the standard
// has besides is not among them.
func (v *Vocabulary) Named(list string) []string {
	var names []string
	for word := range strings.SplitSeq(list, ",") {
		name := strings.TrimPrefix(word, "+")
		if group := output.FieldGroup(name); group != nil {
			names = append(names, group...)
			continue
		}
		names = append(names, name)
	}
	return names
}

// NeedsOwner reports whether a field of a row is known only if owners are read.
func NeedsOwner(name string) bool {
	if f := field.Lookup(name); f != nil && f.Key == name && f.Need&field.Contained != 0 {
		return true
	}
	return slices.Contains([]string{"pid", "program", "owner_src", "pids", "programs"}, name)
}
