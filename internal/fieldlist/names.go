package fieldlist

import (
	"slices"

	"github.com/nettrace/nettrace/output"
)

// Names returns every name that some list can have: the fields of all kinds of records,
// the columns of the stream's text, and the names that stand for several fields.
func Names() []string {
	kinds := []output.RecordKind{
		output.ChangeRecords, output.SocketChangeRecords, output.SocketRecords, output.RouteRecords, output.InterfaceRecords,
		output.StatisticRecords, output.MasqueradeRecords, output.GroupRecords,
	}
	names := slices.Concat(output.ColumnNames(), output.FieldGroups(), output.RecordFields(kinds...))
	slices.Sort(names)
	return slices.Compact(names)
}
