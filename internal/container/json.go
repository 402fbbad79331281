package container

import "bytes"

// The state files of runtimes are JSON of which two strings are wanted. encoding/json
// would be linked into every run for that. What is not well-formed has nothing in it.

// jsonDepth bounds the nesting that is followed.
const jsonDepth = 100

// member returns the value of a member of the object that text is.
func member(text []byte, key string) (value []byte) {
	s := jsonScanner{text: text}
	if !s.take('{') {
		return nil
	}
	for !s.take('}') {
		name, ok := s.str()
		if !ok || !s.take(':') {
			return nil
		}
		from := s.start()
		if !s.skip(0) {
			return nil
		}
		if string(name) == key {
			return text[from:s.at]
		}
		s.take(',')
	}
	return nil
}

// items calls a function with each item of the array that text is.
func items(text []byte, each func(item []byte)) {
	s := jsonScanner{text: text}
	if !s.take('[') {
		return
	}
	for !s.take(']') {
		from := s.start()
		if !s.skip(0) {
			return
		}
		each(text[from:s.at])
		s.take(',')
	}
}

// text returns the text of a string. The names of containers need no escapes
// ([a-zA-Z0-9][a-zA-Z0-9_.-]*): one that has some is none.
func text(value []byte) string {
	s := jsonScanner{text: value}
	name, ok := s.str()
	if !ok || s.at != len(value) || bytes.IndexByte(name, '\\') >= 0 {
		return ""
	}
	return string(name)
}

// jsonScanner goes over a text once.
type jsonScanner struct {
	text []byte
	at   int
}

// start goes to where the next value begins.
func (s *jsonScanner) start() int {
	for s.at < len(s.text) && bytes.IndexByte([]byte(" \t\r\n"), s.text[s.at]) >= 0 {
		s.at++
	}
	return s.at
}

// take goes over a byte, if it is the next one.
func (s *jsonScanner) take(c byte) bool {
	if at := s.start(); at < len(s.text) && s.text[at] == c {
		s.at++
		return true
	}
	return false
}

// str goes over a string and returns its inside.
func (s *jsonScanner) str() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	from := s.at
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return s.text[from : s.at-1], true
		}
		s.at++
	}
	return nil, false
}

// skip goes over a value.
func (s *jsonScanner) skip(depth int) bool {
	at := s.start()
	if at == len(s.text) || depth > jsonDepth {
		return false
	}
	switch s.text[at] {
	case '"':
		_, ok := s.str()
		return ok
	case '{':
		return s.skipAll('{', '}', depth)
	case '[':
		return s.skipAll('[', ']', depth)
	}
	for s.at < len(s.text) && bytes.IndexByte([]byte(",]} \t\r\n"), s.text[s.at]) < 0 {
		s.at++
	}
	return s.at > at
}

// skipAll goes over an object or an array.
func (s *jsonScanner) skipAll(begin, end byte, depth int) bool {
	if !s.take(begin) {
		return false
	}
	for !s.take(end) {
		if begin == '{' {
			if _, ok := s.str(); !ok || !s.take(':') {
				return false
			}
		}
		if !s.skip(depth + 1) {
			return false
		}
		s.take(',')
	}
	return true
}
