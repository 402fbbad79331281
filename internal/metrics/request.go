package metrics

import (
	"bytes"
	"strings"
)

// request is what of a request decides its answer.
type request struct {
	method, path string
}

// The statuses of answers.
const (
	statusOK          = "200 OK"
	statusBad         = "400 Bad Request"
	statusNotFound    = "404 Not Found"
	statusMethod      = "405 Method Not Allowed"
	statusTooLarge    = "431 Request Header Fields Too Large"
	statusUnavailable = "503 Service Unavailable"
)

// headEnd returns how long the head of a request is, with the empty line that ends it;
// 0: it is not complete yet.
func headEnd(b []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return 0
		}
		if line := at + i; line == at || line == at+1 && b[at] == '\r' {
			return line + 1
		}
		at += i + 1
	}
}

// parseRequest reads the head of a request of HTTP/1 (RFC 9112). ok is false if it is
// none. What it asks for besides a path plays no part, but must have the right form.
func parseRequest(head []byte) (r request, ok bool) {
	first, rest, _ := strings.Cut(string(head), "\n")
	method, target, version := requestLine(strings.TrimSuffix(first, "\r"))
	path, ok := pathOf(target)
	if !ok || !isToken(method) || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return request{}, false
	}
	hosts, ok := headers(rest)
	if !ok || hosts > 1 || hosts == 0 && version == "HTTP/1.1" {
		return request{}, false
	}
	return request{method, path}, true
}

// requestLine takes the three words of the first line apart.
func requestLine(line string) (method, target, version string) {
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ = strings.Cut(rest, " ")
	return method, target, version
}

// pathOf returns the path of a target, which may name the host too. Nothing is quoted
// in the paths that are there: one with %2F is another path.
func pathOf(target string) (path string, ok bool) {
	for _, b := range []byte(target) {
		if b <= ' ' || b >= 0x7f {
			return "", false
		}
	}
	if target == "*" {
		return target, true
	}
	if rest, found := strings.CutPrefix(target, "http://"); found {
		slash := strings.IndexByte(rest, '/')
		if slash < 1 {
			return "", false
		}
		target = rest[slash:]
	}
	path, _, _ = strings.Cut(target, "?")
	return path, strings.HasPrefix(path, "/")
}

// headers checks the lines after the first one, and counts those that name the host.
func headers(lines string) (hosts int, ok bool) {
	for line := range strings.SplitSeq(lines, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue // the end
		}
		name, value, found := strings.Cut(line, ":")
		if !found || !isToken(name) || !isValue(value) {
			return 0, false
		}
		if strings.EqualFold(name, "host") {
			hosts++
		}
	}
	return hosts, true
}

// isToken reports whether s is a token: a method, or the name of a header.
func isToken(s string) bool {
	for _, b := range []byte(s) {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// isValue reports whether s is the value of a header.
func isValue(s string) bool {
	for _, b := range []byte(s) {
		if b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}
