package sink

import "errors"

// Open returns the Target of a place, but for stdout. It fails where that can never
// work: a file that cannot be opened. A peer that is missing is no such thing. notice
// takes lines for the person who watches the run; it must not wait.
func Open(s *Spec, notice func(string)) (Target, error) {
	switch s.Kind {
	case ToFile:
		return asTarget(openFile(s.Place, s.Rotate, notice))
	case ToStdout:
		return nil, errors.New("stdout is open already")
	}
	return newSocket(s, notice), nil
}

// asTarget keeps a nil pointer from being a Target.
func asTarget(f *file, err error) (Target, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}
