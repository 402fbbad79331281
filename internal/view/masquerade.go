package view

import (
	"errors"

	"github.com/nettrace/nettrace/snapshot"
)

// masqueradePrinter prints masqueraded connections in one form.
type masqueradePrinter interface {
	title()
	masquerade(*snapshot.Masquerade)
}

// masquerades shows the masqueraded connections. Kernels since 2.4 have no table
// of that form: there it fails.
func (s *session) masquerades() error {
	rows, err := snapshot.ReadMasquerades(s.env.Proc)
	switch {
	case err == nil:
	case errors.Is(err, snapshot.ErrMasqueradeEmpty):
		return s.fail(StatusInternal, "masq_info: Internal Error `fgets() failed'.")
	case errors.Is(err, snapshot.ErrMasqueradeFormat):
		return s.fail(StatusInternal, "masq_info.c: Internal Error `ip_masquerade format error'.")
	case errors.Is(err, snapshot.ErrMasqueradeProtocol):
		return s.fail(StatusInternal, "masq_info.c: Internal Error `ip_masquerade unknown type'.")
	default:
		return s.unreadable(table{subject: "ip_masquerade", path: "/proc/net/ip_masquerade", named: true}, err)
	}
	if len(rows) == 0 {
		return nil
	}
	p := s.masqueradePrinter()
	p.title()
	for i := range rows {
		p.masquerade(&rows[i])
	}
	return nil
}
