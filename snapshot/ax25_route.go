package snapshot

import "strings"

// AX25Route is a row of /proc/net/ax25_route (net/ax25/ax25_route.c,
// ax25_rt_seq_show).
type AX25Route struct {
	Dest   string // callsign, or "default"
	Device string // its first four bytes
}

// ReadAX25Routes reads the AX.25 routes of net/ax25_route below a proc root.
func ReadAX25Routes(proc string) ([]AX25Route, error) {
	file, err := readFile(proc, "net/ax25_route")
	if err != nil {
		return nil, err
	}
	return ParseAX25Routes(file), nil
}

// ParseAX25Routes parses /proc/net/ax25_route, whose columns are fixed.
func ParseAX25Routes(file []byte) []AX25Route {
	_, rows := cutLine(file)
	var routes []AX25Route
	for line := range lines(rows, legacyLine) {
		routes = append(routes, AX25Route{column(line, 0, 9), column(line, 10, 14)})
	}
	return routes
}

// column returns the text between two places of a line without the spaces after it.
func column(line []byte, from, to int) string {
	line = cString(line)
	if from >= len(line) {
		return ""
	}
	return strings.TrimRight(string(line[from:min(to, len(line))]), " \n")
}
