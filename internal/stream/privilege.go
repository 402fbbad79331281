package stream

import (
	"errors"

	"github.com/nettrace/nettrace/internal/netns"
	"github.com/nettrace/nettrace/internal/privilege"
	"github.com/nettrace/nettrace/tracer"
)

// giveUp drops the capabilities that the run does not need any more. It does so before
// anything is read from the kernel. What is left to give up is for bound.
func (s *Stream) giveUp() error {
	needs := privilege.OfPolling(&s.opts.Trace)
	if t, ok := s.source.(*tracer.Tracer); ok {
		var err error
		if needs, err = privilege.Of(t, &s.opts.Trace); err != nil {
			return err
		}
	}
	needs.Files = privilege.Refused(needs.Run(), s.opts.Files)
	left, err := privilege.Drop(needs.Run())
	s.bound = func() error { return privilege.Bound(left) }
	if errors.Is(err, privilege.ErrOneThread) {
		s.limitation("capabilities are kept: %v", err)
		s.bound = nil
		return nil
	}
	return err
}

// lonely is what is said of a network namespace that has no interface but lo. A service
// with PrivateNetwork=yes and a container without a network are in such a one.
const lonely = "this network namespace has no interface but lo: connections of the host and of other namespaces are not seen"

// sayLonely has the start record say so where the namespace is the caller's and not one
// that was asked for.
func (s *Stream) sayLonely() {
	if s.opts.Trace.NetnsPath != "" || s.opts.Trace.AllNetns {
		return
	}
	if alone, err := netns.OnlyLoopback(procRoot(s.opts.ProcRoot)); err == nil && alone {
		s.start.Inexact = append(s.start.Inexact, lonely)
	}
}
