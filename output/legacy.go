package output

// LegacyText writes netstat's text of the sockets of families other than
// Internet and Unix, byte for byte. Rows are appended to a buffer of the caller.
type LegacyText struct {
	Names  Names // of users
	Extend bool  // -e: users of IPX sockets
}

// legacyTitles are the lines above the sockets of a family.
var legacyTitles = map[string]string{
	"ipx":    "Active IPX sockets\nProto Recv-Q Send-Q Local Address              Foreign Address            State",
	"ax25":   "Active AX.25 sockets\nDest       Source     Device  State        Vr/Vs    Send-Q  Recv-Q",
	"x25":    "Active X.25 sockets\nDest         Source          Device  LCI  State        Vr/Vs  Send-Q  Recv-Q",
	"netrom": "Active NET/ROM sockets\nUser       Dest       Source     Device  State        Vr/Vs    Send-Q  Recv-Q",
	"rose":   "Active ROSE sockets\ndest_addr   dest_call  src_addr    src_call  dev   lci neigh   state",
}

// AppendTitle appends the lines above the sockets of a family.
func (t *LegacyText) AppendTitle(dst []byte, family string) []byte {
	dst = append(dst, legacyTitles[family]...)
	if family == "ipx" && t.Extend {
		dst = append(dst, " User"...)
	}
	return append(dst, '\n')
}

// AppendBadLine appends what netstat prints among the rows of a family for a
// line that is none.
func (t *LegacyText) AppendBadLine(dst []byte, family, file string) []byte {
	switch family {
	case "ax25":
		dst = append(dst, "problem"...)
	case "netrom", "rose":
		dst = append(dst, "Problem"...)
	}
	dst = append(dst, " reading data from /proc/"...)
	dst = append(dst, file...)
	return append(dst, '\n')
}

// stateName returns the name of a state. For numbers without one netstat reads
// beyond its table; where that ends softly it prints this.
func stateName(names []string, state int32) string {
	if state < 0 || int(state) >= len(names) {
		return "(null)"
	}
	return names[state]
}
