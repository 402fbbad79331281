package summary

import (
	"strings"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/output"
)

// columns returns the columns of the tables: the measures, then the keys.
func (s *Spec) columns() []output.SummaryColumn {
	var list []output.SummaryColumn
	for i := range s.measures {
		list = append(list, s.measures[i].column(s.fields))
	}
	for _, k := range s.keys {
		list = append(list, output.SummaryColumn{
			Name: nameOf(k.field), Title: strings.ToUpper(k.typed), Kind: kindOfKey(k.field),
		})
	}
	return list
}

// nameOf returns the name of a field in records.
func nameOf(f *field.Field) string {
	if f.Key != "" {
		return f.Key
	}
	return f.Word
}

// column returns the column of a measure. In records its name is that of the field, and
// then what was made of it; the unit of a time comes last.
func (m *measure) column(fields []*field.Field) output.SummaryColumn {
	c := output.SummaryColumn{Name: m.typed, Title: strings.ToUpper(m.typed), Measure: true}
	if m.of < 0 {
		return c
	}
	f := fields[m.of]
	name, unit := nameOf(f), ""
	switch f.Type {
	case field.Duration:
		name, unit, c.Kind = f.Word, "_ns", output.SummaryDuration
	case field.Size:
		c.Kind = output.SummarySize
	}
	function, _, _ := strings.Cut(m.typed, "(")
	c.Name = name + "_" + strings.ReplaceAll(function, ".", "_") + unit
	if m.op == opMean && c.Kind == output.SummaryNumber {
		c.Kind, c.Name = output.SummaryMean, c.Name+"_milli"
	}
	return c
}

// kindOfKey returns how the values of a key are written.
func kindOfKey(f *field.Field) output.SummaryKind {
	switch f.Type {
	case field.Addr, field.String, field.User, field.Device:
		return output.SummaryString
	case field.Size:
		return output.SummarySize
	case field.Duration:
		if strings.HasSuffix(f.Key, "_us") {
			return output.SummaryMicros
		}
		return output.SummaryDuration
	case field.State:
		return output.SummaryState
	case field.Errno:
		return output.SummaryErrno
	case field.Cgroup:
		return output.SummaryID
	case field.ID:
		if f.Key == "conn_id" {
			return output.SummaryHex
		}
	case field.Enum:
		if f.WordOf(1) == "true" {
			return output.SummaryFlag
		}
		return output.SummaryString
	}
	return output.SummaryNumber
}
