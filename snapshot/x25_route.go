package snapshot

// X25Route is a row of /proc/net/x25/route (net/x25/x25_proc.c,
// x25_seq_route_show).
type X25Route struct {
	Dest   string // address, of which the first Digits count
	Digits int32
	Device string
}

// ReadX25Routes reads the X.25 routes of net/x25/route below a proc root.
func ReadX25Routes(proc string) ([]X25Route, error) {
	file, err := readFile(proc, "net/x25/route")
	if err != nil {
		return nil, err
	}
	return ParseX25Routes(file), nil
}

// ParseX25Routes parses /proc/net/x25/route, whose columns are fixed.
func ParseX25Routes(file []byte) []X25Route {
	_, rows := cutLine(file)
	var routes []X25Route
	for line := range lines(rows, legacyLine) {
		r := X25Route{Dest: column(line, 0, 15), Device: column(line, 25, 35)}
		s := scanLine(line[min(len(line), 15):])
		scanDec(&s, &r.Digits)
		routes = append(routes, r)
	}
	return routes
}
