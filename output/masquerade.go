package output

import (
	"net/netip"
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
)

// MasqueradeText writes netstat's text of masqueraded connections, byte for
// byte. Rows are appended to a buffer of the caller.
type MasqueradeText struct {
	Names  Names
	Extend bool // -e
}

// AppendTitle appends the lines above the connections.
func (t *MasqueradeText) AppendTitle(dst []byte) []byte {
	dst = append(dst, "IP masquerading entries\nprot   expire "...)
	if t.Extend {
		dst = append(dst, "   initseq delta prevd "...)
	}
	return append(dst, "source               destination          ports\n"...)
}

// AppendMasquerade appends the row of a connection.
func (t *MasqueradeText) AppendMasquerade(dst []byte, m *snapshot.Masquerade) []byte {
	r := tableRow(dst)
	seconds := int64(m.Expires / 100)
	r.left(m.Protocol, 4)
	r.rightInt(seconds/60, 3)
	r.text(":")
	r.digits2(seconds % 60)
	r.text(".")
	r.digits2(int64(m.Expires % 100))
	r.text(" ")
	if t.Extend {
		r.sequence(m)
	}
	for _, a := range []netip.AddrPort{m.Source, m.Dest} {
		r.left(hostText(t.Names.Hosts, a.Addr()), 20)
		r.text(" ")
	}
	r = appendPort(r, t.Names.Services, m.Source.Port(), m.Protocol)
	r.text(" -> ")
	r = appendPort(r, t.Names.Services, m.Dest.Port(), m.Protocol)
	r.text(" (")
	r = appendPort(r, t.Names.Services, m.Port, m.Protocol)
	r.text(")")
	return r.line()
}

// sequence adds what the kernel changed of the sequence numbers.
func (r *tableRow) sequence(m *snapshot.Masquerade) {
	r.right(strconv.FormatUint(m.InitSeq, 10), 10)
	r.text(" ")
	r.rightInt(int64(m.Delta), 5)
	r.text(" ")
	if m.HasPrevious {
		r.rightInt(int64(m.PreviousDelta), 5)
	} else {
		r.text("    -")
	}
	r.text(" ")
}

// digits2 adds a number below 100 with two digits.
func (r *tableRow) digits2(v int64) {
	if v < 10 {
		r.text("0")
	}
	r.leftInt(v, 0)
}
