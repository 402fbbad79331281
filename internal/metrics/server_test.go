package metrics

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// startServer starts a server on a Unix socket that says which path was asked for.
func startServer(t *testing.T, is limits) (s *server, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s = newServer(l, func(r request) answer { return plain(statusOK, "at "+r.path) }, is)
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.serve()
	}()
	t.Cleanup(func() {
		_ = s.close()
		<-over
	})
	return s, path
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends text and returns all that comes back.
func exchange(t *testing.T, path, text string) string {
	t.Helper()
	c := dial(t, path)
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// client is the standard library's, over a Unix socket.
func client(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) },
	}}
}

// TestServerServesAClient has the standard library's client ask.
func TestServerServesAClient(t *testing.T) {
	_, path := startServer(t, standardLimits)
	c := client(path)
	for range 3 { // each time anew: the connection is closed
		resp, err := c.Get("http://nettrace/metrics?x=1")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "at /metrics\n" || resp.StatusCode != http.StatusOK {
			t.Errorf("%v %d %q", err, resp.StatusCode, body)
		}
		resp.Body.Close()
	}
	resp, err := c.Post("http://nettrace/", "text/plain", strings.NewReader(strings.Repeat("x", 4000)))
	if err != nil {
		t.Fatal(err) // the body was not read, and the answer came nevertheless
	}
	resp.Body.Close()
}

func TestAnswers(t *testing.T) {
	m := newMetrics()
	for _, tt := range []struct{ method, path, status string }{
		{"GET", "/", statusNotFound},
		{"GET", "/metrics/", statusNotFound},
		{"HEAD", "/other", statusNotFound},
		{"POST", "/metrics", statusMethod},
		{"DELETE", "/other", statusMethod},
		{"OPTIONS", "*", statusMethod},
		{"GET", "/healthz", statusUnavailable},
	} {
		a := m.answer(request{tt.method, tt.path})
		b := string(a.bytes())
		head, body, _ := strings.Cut(b, "\r\n\r\n")
		if a.status != tt.status || !strings.HasPrefix(b, "HTTP/1.1 "+tt.status+"\r\n") {
			t.Errorf("%s %s: %q", tt.method, tt.path, b)
		}
		if length := fmt.Sprintf("\r\nContent-Length: %d\r\n", len(a.body)); !strings.Contains(head, length) {
			t.Errorf("%s %s: no %q in %q", tt.method, tt.path, length, head)
		}
		if (body == "") != (tt.method == "HEAD") {
			t.Errorf("%s %s: body %q", tt.method, tt.path, body)
		}
		if strings.Contains(head, "\r\nAllow: GET, HEAD") != (tt.status == statusMethod) {
			t.Errorf("%s %s: %q", tt.method, tt.path, head)
		}
	}
}

func TestServerRefusesGarbage(t *testing.T) {
	_, path := startServer(t, standardLimits)
	for text, status := range map[string]string{
		"\x16\x03\x01\x02\x00\x01\n\n":                              statusBad,
		"GET /metrics\r\n\r\n":                                      statusBad,
		"GET / HTTP/1.1\r\nHost: " + strings.Repeat("x", 8<<10):     statusTooLarge,
		"GET /" + strings.Repeat("a", 20<<10) + " HTTP/1.1\r\n\r\n": statusTooLarge,
		"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n\r\n": statusOK, // the second is not answered
	} {
		got := exchange(t, path, text)
		if !strings.HasPrefix(got, "HTTP/1.1 "+status+"\r\n") || strings.Count(got, "Connection: close") != 1 {
			t.Errorf("%.40q: %q", text, got)
		}
	}
}

// TestSlowClients takes each place with a client that sends a byte now and then. Who
// asks properly is answered when their time is up, and nothing is left of them.
func TestSlowClients(t *testing.T) {
	is := limits{head: 1 << 10, connections: 3, asking: 2 * time.Second, answering: 2 * time.Second, leaving: 100 * time.Millisecond}
	s, path := startServer(t, is)
	before := runtime.NumGoroutine()
	var slow sync.WaitGroup
	for range 3 * is.connections {
		c := dial(t, path)
		slow.Go(func() {
			for {
				if _, err := io.WriteString(c, "a"); err != nil {
					return // it is cut off
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	if got := exchange(t, path, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasSuffix(got, "at /x\n") {
		t.Errorf("who asks properly gets %q", got)
	}
	slow.Wait()
	for range 1000 {
		s.mu.Lock()
		open := len(s.conns)
		s.mu.Unlock()
		if open == 0 && runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines are left, %d before", runtime.NumGoroutine(), before)
}

// TestConnectionsAreBounded checks that no more than the limit are answered at a time.
func TestConnectionsAreBounded(t *testing.T) {
	is := standardLimits
	is.connections = 4
	var mu sync.Mutex
	at, most := 0, 0
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(l, func(request) answer {
		mu.Lock()
		at++
		most = max(most, at)
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		at--
		mu.Unlock()
		return plain(statusOK, "ok")
	}, is)
	go s.serve()
	defer func() { _ = s.close() }()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := io.WriteString(c, "GET / HTTP/1.0\n\n"); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(got), "ok\n") {
				t.Errorf("%v %q", err, got)
			}
		})
	}
	all.Wait()
	if most > is.connections {
		t.Errorf("%d at a time, at most %d may be", most, is.connections)
	}
}

// TestCloseEndsConnections checks that nobody holds up the end.
func TestCloseEndsConnections(t *testing.T) {
	s, path := startServer(t, standardLimits)
	c := dial(t, path)
	if _, err := io.WriteString(c, "GET"); err != nil {
		t.Fatal(err)
	}
	for open := 0; open == 0; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		open = len(s.conns)
		s.mu.Unlock()
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes: %v", n, err)
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("the socket is left")
	}
}
