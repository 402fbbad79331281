package main

// session is one run over the views: what stays between the rounds of -c.
type session struct {
	env    *env
	opts   *options
	rounds int // rounds shown so far
}

func newSession(e *env, o *options) *session {
	return &session{env: e, opts: o}
}

// round shows the view once.
func (s *session) round(v view) error {
	switch v {
	case viewSockets:
		return s.sockets(s.opts.selectSockets())
	}
	return failf("nettrace: this build does not have the view yet")
}

// sockets shows the parts of the socket view in netstat's order and stops at
// the first that fails.
func (s *session) sockets(sel selection) error {
	return nil
}
