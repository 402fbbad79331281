package names

import (
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// readPorts reads services(5) and protocols(5) into one table for each
// protocol. Where a number stands twice in a file, the last name counts, as in
// netstat, which reads them all. Files that are not there name nothing.
func readPorts(etc string) map[string]map[uint16]string {
	udp := map[uint16]string{}
	ports := map[string]map[uint16]string{"tcp": {}, "udp": udp, "udplite": udp, "raw": {}}
	for words := range fields(readText(etc, "services")) {
		if len(words) < 2 {
			continue
		}
		number, protocol, _ := strings.Cut(words[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if table := ports[protocol]; table != nil && err == nil && protocol != "udplite" {
			table[uint16(port)] = words[0]
		}
	}
	for words := range fields(readText(etc, "protocols")) {
		if len(words) < 2 {
			continue
		}
		if number, err := strconv.ParseUint(words[1], 10, 16); err == nil {
			ports["raw"][uint16(number)] = words[0]
		}
	}
	return ports
}

// readNetworks reads networks(5). A number of less than four parts is filled
// with zeros; of several names the first counts.
func readNetworks(etc string) map[netip.Addr]string {
	networks := map[netip.Addr]string{}
	for words := range fields(readText(etc, "networks")) {
		if len(words) < 2 {
			continue
		}
		number := words[1] + strings.Repeat(".0", max(3-strings.Count(words[1], "."), 0))
		a, err := netip.ParseAddr(number)
		if err != nil || !a.Is4() {
			continue
		}
		if _, ok := networks[a]; !ok {
			networks[a] = words[0]
		}
	}
	return networks
}

// readUsers reads passwd(5). Of several names of a number the first counts.
func readUsers(etc string) map[uint32]string {
	users := map[uint32]string{}
	for line := range strings.Lines(readText(etc, "passwd")) {
		columns := strings.Split(strings.TrimLeft(line, " \t"), ":")
		if len(columns) < 4 || columns[0] == "" || columns[0][0] == '#' {
			continue
		}
		uid, err := strconv.ParseUint(columns[2], 10, 32)
		if err != nil {
			continue
		}
		if _, ok := users[uint32(uid)]; !ok {
			users[uint32(uid)] = columns[0]
		}
	}
	return users
}

// readText reads a file of names; one that cannot be read names nothing.
func readText(etc, name string) string {
	b, _ := os.ReadFile(filepath.Join(etc, name))
	return string(b)
}

// fields yields the words of each line up to its comment.
func fields(text string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(line, "#")
			if words := strings.Fields(line); len(words) > 0 && !yield(words) {
				return
			}
		}
	}
}
