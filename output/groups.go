package output

import "github.com/nettrace/nettrace/snapshot"

// GroupText writes netstat's text of multicast groups, byte for byte. Rows are
// appended to a buffer of the caller.
type GroupText struct {
	Hosts Hosts // nil: numbers only
}

// AppendTitle appends the lines above the groups.
func (t *GroupText) AppendTitle(dst []byte) []byte {
	return append(dst, "IPv6/IPv4 Group Memberships\n"+
		"Interface       RefCnt Group\n"+
		"--------------- ------ ---------------------\n"...)
}

// AppendGroup appends the row of a group.
func (t *GroupText) AppendGroup(dst []byte, g *snapshot.Group) []byte {
	r := tableRow(dst)
	r.left(g.Iface, 15)
	r.text(" ")
	r.leftInt(int64(g.Users), 6)
	r.text(" ")
	r.text(hostText(t.Hosts, g.Addr))
	return r.line()
}
