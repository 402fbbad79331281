package summary

import (
	"maps"
	"slices"

	"github.com/nettrace/nettrace/internal/field"
)

// Names returns the names that a list can have: measures without a field, and fields.
func Names() []string {
	names := slices.Sorted(maps.Keys(counters))
	for _, f := range field.All() {
		if f.In&(field.View|field.Stream) != 0 {
			names = append(names, f.Word)
		}
	}
	return names
}
