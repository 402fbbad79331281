package stream

import (
	"errors"

	"github.com/nettrace/nettrace/internal/privilege"
	"github.com/nettrace/nettrace/tracer"
)

// giveUp drops the capabilities that the run does not need any more. It does so before
// anything is read from the kernel.
func (s *Stream) giveUp() error {
	needs := privilege.OfPolling(&s.opts.Trace)
	if t, ok := s.source.(*tracer.Tracer); ok {
		var err error
		if needs, err = privilege.Of(t, &s.opts.Trace); err != nil {
			return err
		}
	}
	needs.Files = privilege.Refused(needs.Run(), s.opts.Files)
	_, err := privilege.Drop(needs.Run())
	if errors.Is(err, privilege.ErrOneThread) {
		s.limitation("capabilities are kept: %v", err)
		return nil
	}
	return err
}
