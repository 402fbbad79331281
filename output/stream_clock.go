package output

import "time"

// streamClock turns nanoseconds after the Unix epoch into the text of the time of
// day, and says when its date, or its distance from UTC, is another.
type streamClock struct {
	place  *time.Location
	second int64   // the second that text shows
	text   [8]byte // hh:mm:ss
	shown  date    // what the last line of a date said
}

// date is what the time of day leaves open: the day, and the zone's distance
// from UTC in seconds, which changes within a day twice a year.
type date struct{ year, day, zone int }

// show sets the clock. It reports whether a line of the date must come first.
func (c *streamClock) show(ns int64) (newDate bool) {
	second := ns / 1e9
	if second == c.second {
		return false
	}
	c.second = second
	now := time.Unix(second, 0).In(c.place)
	now.AppendFormat(c.text[:0], time.TimeOnly)
	_, zone := now.Zone()
	if d := (date{now.Year(), now.YearDay(), zone}); d != c.shown {
		c.shown = d
		return true
	}
	return false
}

// appendDate appends the date that the clock shows, and its zone.
func (c *streamClock) appendDate(dst []byte) []byte {
	now := time.Unix(c.second, 0).In(c.place)
	dst = append(dst, "# "...)
	dst = now.AppendFormat(dst, time.DateOnly)
	dst = append(dst, " ("...)
	if name, _ := now.Zone(); name != "" && name[0] != '+' && name[0] != '-' { // some have numbers only
		dst = append(dst, name...)
		dst = append(dst, ", "...)
	}
	dst = now.AppendFormat(dst, "-07:00")
	return append(dst, ')')
}

// appendTime appends the time of day that the clock was set to, to milliseconds
// or microseconds.
func (c *streamClock) appendTime(dst []byte, ns int64, micros bool) []byte {
	dst = append(dst, c.text[:]...)
	dst = append(dst, '.')
	fraction := int(ns % 1e9)
	if micros {
		return appendDigits(dst, fraction/1e3, 6)
	}
	return appendDigits(dst, fraction/1e6, 3)
}
