package snapshot

import "bytes"

// InterfaceCounters are the counters of an interface since it was made: a row
// of /proc/net/dev (net/core/net-procfs.c, dev_seq_printf_stats).
type InterfaceCounters struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	RxFIFO, RxFrame, RxCompressed, RxMulti  uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
	TxFIFO, Collisions                      uint64
	TxCarrier, TxCompressed                 uint64
}

// deviceLine is the longest piece of a line that net-tools reads at a time.
const deviceLine = 512

// ParseInterfaceCounters parses /proc/net/dev by interface name.
func ParseInterfaceCounters(file []byte) map[string]*InterfaceCounters {
	counters := map[string]*InterfaceCounters{}
	n := 0
	for line := range lines(file, deviceLine) {
		if n++; n <= 2 {
			continue
		}
		name, rest, ok := cutDeviceName(line)
		if !ok {
			continue
		}
		c := counters[name]
		if c == nil {
			c = &InterfaceCounters{}
			counters[name] = c
		}
		s := scanLine(rest)
		for _, dst := range []*uint64{
			&c.RxBytes, &c.RxPackets, &c.RxErrors, &c.RxDropped,
			&c.RxFIFO, &c.RxFrame, &c.RxCompressed, &c.RxMulti,
			&c.TxBytes, &c.TxPackets, &c.TxErrors, &c.TxDropped,
			&c.TxFIFO, &c.Collisions, &c.TxCarrier, &c.TxCompressed,
		} {
			scanUint(&s, dst)
		}
	}
	return counters
}

// cutDeviceName splits a row after the name as net-tools does: at the first colon,
// unless that begins the number of an alias, which a second one ends ("eth0:1:"),
// or at white space. Kernels since 4.12 let no name hold either (net/core/dev.c,
// dev_valid_name).
func cutDeviceName(line []byte) (name string, rest []byte, ok bool) {
	line = bytes.TrimLeft(line, " \t")
	if bytes.IndexByte(line, ':') < 0 {
		return "", nil, false
	}
	end := bytes.IndexFunc(line, func(r rune) bool { return r == ':' || isSpace(byte(r)) })
	if line[end] != ':' {
		return string(line[:end]), line[end:], true
	}
	alias := end + 1
	for alias < len(line) && isDigit(line[alias]) {
		alias++
	}
	if alias < len(line) && line[alias] == ':' {
		end = alias
	}
	return string(line[:end]), line[end+1:], true
}
