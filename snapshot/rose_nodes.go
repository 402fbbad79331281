package snapshot

// ROSERoute is a row of /proc/net/rose_nodes with the neighbours it leads to
// out of /proc/net/rose_neigh (net/rose/rose_route.c).
type ROSERoute struct {
	Dest       string
	Neighbours []ROSENeighbour
}

// ROSENeighbour is a neighbour that a route leads to. Call is empty where the
// list of neighbours does not have the number.
type ROSENeighbour struct {
	Number int32
	Call   string
	Device string // its first five bytes
}

// ReadROSERoutes reads the ROSE nodes of net/rose_nodes and their neighbours of
// net/rose_neigh below a proc root. The error is of one of them.
func ReadROSERoutes(proc string) ([]ROSERoute, error) {
	nodes, err := readFile(proc, "net/rose_nodes")
	if err != nil {
		return nil, err
	}
	neighbours, err := readFile(proc, "net/rose_neigh")
	if err != nil {
		return nil, err
	}
	return ParseROSERoutes(nodes, neighbours), nil
}

// ParseROSERoutes parses /proc/net/rose_nodes and /proc/net/rose_neigh.
func ParseROSERoutes(nodes, neighbours []byte) []ROSERoute {
	byNumber := parseNeighbours(neighbours, 21)
	_, rows := cutLine(nodes)
	var routes []ROSERoute
	for line := range lines(rows, legacyLine) {
		r := ROSERoute{Dest: column(line, 0, 10)}
		s := scanLine(line[min(len(line), 11):])
		var mask, count int32
		scanDec(&s, &mask)
		scanDec(&s, &count)
		for range min(count, roseRoutes) {
			var n ROSENeighbour
			scanDec(&s, &n.Number)
			if s.failed {
				break
			}
			n.Call, n.Device = byNumber[n.Number].call, byNumber[n.Number].device
			r.Neighbours = append(r.Neighbours, n)
		}
		routes = append(routes, r)
	}
	return routes
}

// roseRoutes is how many neighbours a ROSE node can have (struct rose_node,
// include/net/rose.h).
const roseRoutes = 3
