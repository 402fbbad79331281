package snapshot

// NetROMRoute is a row of /proc/net/nr_nodes with the neighbour it leads to
// out of /proc/net/nr_neigh (net/netrom/nr_route.c).
type NetROMRoute struct {
	Dest, Mnemonic string
	// The route in use. Of a node without one Neighbour is empty.
	Quality   int32
	Neighbour string // callsign
	Device    string // its first four bytes
}

// neighbour is a row of /proc/net/nr_neigh or /proc/net/rose_neigh.
type neighbour struct{ call, device string }

// ReadNetROMRoutes reads the NET/ROM nodes of net/nr_nodes and their
// neighbours of net/nr_neigh below a proc root. The error is of one of them.
func ReadNetROMRoutes(proc string) ([]NetROMRoute, error) {
	nodes, err := readFile(proc, "net/nr_nodes")
	if err != nil {
		return nil, err
	}
	neighbours, err := readFile(proc, "net/nr_neigh")
	if err != nil {
		return nil, err
	}
	return ParseNetROMRoutes(nodes, neighbours), nil
}

// ParseNetROMRoutes parses /proc/net/nr_nodes and /proc/net/nr_neigh.
func ParseNetROMRoutes(nodes, neighbours []byte) []NetROMRoute {
	byNumber := parseNeighbours(neighbours, 20)
	_, rows := cutLine(nodes)
	var routes []NetROMRoute
	for line := range lines(rows, legacyLine) {
		r := NetROMRoute{Dest: column(line, 0, 9), Mnemonic: column(line, 10, 17)}
		s := scanLine(line[min(len(line), 18):])
		var which, count int32
		scanDec(&s, &which)
		scanDec(&s, &count)
		for range which {
			var quality, obsolescence, number int32
			scanDec(&s, &quality)
			scanDec(&s, &obsolescence)
			scanDec(&s, &number)
			if s.failed {
				r.Neighbour, r.Device = "", ""
				break
			}
			r.Quality = quality
			r.Neighbour, r.Device = byNumber[number].call, byNumber[number].device
		}
		routes = append(routes, r)
	}
	return routes
}

// parseNeighbours parses a list of neighbours by number. The name of the
// device is in the fixed columns from 16 to end.
func parseNeighbours(file []byte, end int) map[int32]neighbour {
	_, rows := cutLine(file)
	neighbours := map[int32]neighbour{}
	for line := range lines(rows, legacyLine) {
		var number int32
		s := scanLine(line)
		scanDec(&s, &number)
		if _, known := neighbours[number]; !known {
			neighbours[number] = neighbour{column(line, 6, 15), column(line, 16, end)}
		}
	}
	return neighbours
}
