package output

import (
	"errors"
	"io"
	"net/netip"
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
)

// MasqueradeOptions say what Masquerades shows.
type MasqueradeOptions struct {
	Extend   bool     // -e
	Names    Names    // nil with -n or --numeric-hosts
	Services Services // nil with -n or --numeric-ports
}

// Masquerades prints netstat's -M. On kernels since 2.4, which have no table of
// that form, it fails with status 1.
func Masquerades(w, diag io.Writer, proc string, o MasqueradeOptions) error {
	rows, err := snapshot.ReadMasquerades(proc)
	switch {
	case err == nil:
	case errors.Is(err, snapshot.ErrMasqueradeEmpty):
		return failed(diag, 255, "masq_info: Internal Error `fgets() failed'.")
	case errors.Is(err, snapshot.ErrMasqueradeFormat):
		return failed(diag, 255, "masq_info.c: Internal Error `ip_masquerade format error'.")
	case errors.Is(err, snapshot.ErrMasqueradeProtocol):
		return failed(diag, 255, "masq_info.c: Internal Error `ip_masquerade unknown type'.")
	default:
		return missing(diag, "ip_masquerade", "/proc/net/ip_masquerade", err)
	}
	if len(rows) == 0 {
		return nil
	}
	var r tableRow
	r.text("IP masquerading entries")
	r.end(w)
	r.text("prot   expire ")
	if o.Extend {
		r.text("   initseq delta prevd ")
	}
	r.text("source               destination          ports")
	r.end(w)
	for i := range rows {
		r.masquerade(&rows[i], &o)
		r.end(w)
	}
	return nil
}

func (r *tableRow) masquerade(m *snapshot.Masquerade, o *MasqueradeOptions) {
	seconds := int64(m.Expires / 100)
	r.left(m.Protocol, 4)
	r.rightInt(seconds/60, 3)
	r.text(":")
	r.digits2(seconds % 60)
	r.text(".")
	r.digits2(int64(m.Expires % 100))
	r.text(" ")
	if o.Extend {
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
	for _, a := range []netip.AddrPort{m.Source, m.Dest} {
		r.left(hostText(o.Names, a.Addr()), 20)
		r.text(" ")
	}
	r.text(portText(o.Services, m.Source.Port(), m.Protocol))
	r.text(" -> ")
	r.text(portText(o.Services, m.Dest.Port(), m.Protocol))
	r.text(" (")
	r.text(portText(o.Services, m.Port, m.Protocol))
	r.text(")")
}

// digits2 adds a number below 100 with two digits.
func (r *tableRow) digits2(v int64) {
	if v < 10 {
		r.text("0")
	}
	r.leftInt(v, 0)
}
