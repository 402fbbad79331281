package metrics

import (
	"bufio"
	"bytes"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestParseRequest(t *testing.T) {
	for _, tt := range []struct {
		head string
		want request
		ok   bool
	}{
		{"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", request{"GET", "/metrics"}, true},
		{"GET /metrics HTTP/1.0\r\n\r\n", request{"GET", "/metrics"}, true},
		{"HEAD /healthz?full=1 HTTP/1.1\nhost: x\n\n", request{"HEAD", "/healthz"}, true},
		{"GET http://x:9100/metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n", request{"GET", "/metrics"}, true},
		{"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", request{"OPTIONS", "*"}, true},
		{"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", request{"POST", "/metrics"}, true},
		{"GET /metrics HTTP/1.1\r\n\r\n", request{}, false}, // no host
		{"GET /metrics HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", request{}, false},
		{"GET /metrics HTTP/1.1\r\nHost: x\r\n bad\r\n\r\n", request{}, false}, // a folded line
		{"GET /metrics HTTP/1.1\r\nHost : x\r\n\r\n", request{}, false},
		{"GET /metrics HTTP/1.1\r\nHost: x\x00\r\n\r\n", request{}, false},
		{"GET /metrics HTTP/2.0\r\nHost: x\r\n\r\n", request{}, false},
		{"PRI * HTTP/2.0\r\n\r\n", request{}, false},
		{"GET  /metrics HTTP/1.1\r\nHost: x\r\n\r\n", request{}, false},
		{"GET metrics HTTP/1.1\r\nHost: x\r\n\r\n", request{}, false},
		{"GET http:///metrics HTTP/1.1\r\nHost: x\r\n\r\n", request{}, false},
		{"GET /metrics\r\n\r\n", request{}, false},
		{"\x16\x03\x01\x02\x00\n\n", request{}, false}, // TLS
		{"\r\n", request{}, false},
		{"", request{}, false},
	} {
		got, ok := parseRequest([]byte(tt.head))
		if got != tt.want || ok != tt.ok {
			t.Errorf("%q: %+v %t, want %+v %t", tt.head, got, ok, tt.want, tt.ok)
		}
	}
}

func TestHeadEnd(t *testing.T) {
	for in, want := range map[string]int{
		"": 0, "GET": 0, "GET /\r\n": 0, "GET /\r\n\r\n": 9, "GET /\n\nrest": 7, "GET /\n\r\nrest": 8, "\r\n": 2, "\n": 1, "a\r\nb\r\n": 0,
	} {
		if got := headEnd([]byte(in)); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}

// FuzzRequest checks that what is taken for a request is one for the standard library,
// with the same method and path.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD /healthz?a=b HTTP/1.0\n\n",
		"GET http://x/metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		end := headEnd(in)
		if end < 0 || end > len(in) {
			t.Fatalf("the head ends at %d of %d", end, len(in))
		}
		if end == 0 {
			return
		}
		got, ok := parseRequest(in[:end])
		if !ok {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in[:end])))
		if err != nil {
			if mayDiffer(err.Error()) {
				return
			}
			t.Fatalf("the library refuses %q: %v", in[:end], err)
		}
		if path := want.URL.Path; got.method != want.Method || got.path != path && plainPath.MatchString(got.path+path) {
			t.Errorf("%q: %+v, the library reads %s %s", in[:end], got, want.Method, path)
		}
	})
}

// plainPath is a path in which nothing can be quoted, as those are that lead somewhere.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._~-]*$`)

// mayDiffer reports whether the library refuses a request for what plays no part here:
// a body that is not read, quoting in a path that leads nowhere, and the host's form.
func mayDiffer(reason string) bool {
	for _, of := range []string{"Content-Length", "Transfer-Encoding", "transfer encoding", "invalid URL escape", "host", "parse ", "Trailer"} {
		if strings.Contains(reason, of) {
			return true
		}
	}
	return false
}
