package metrics

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParsePlace(t *testing.T) {
	for text, want := range map[string]string{
		":9100":               "127.0.0.1:9100",
		"9100":                "127.0.0.1:9100",
		"0.0.0.0:9100":        "0.0.0.0:9100",
		"[::1]:9100":          "[::1]:9100",
		"localhost:1":         "localhost:1",
		"unix:/run/m.sock":    "unix:/run/m.sock",
		"unix:m.sock":         "unix:m.sock",
		"":                    "it takes HOST:PORT",
		"localhost":           "it takes HOST:PORT",
		"::1:9100":            "it takes HOST:PORT",
		":0":                  "'0' is no port",
		":http":               "'http' is no port",
		":65536":              "'65536' is no port",
		"70000":               "it takes HOST:PORT",
		"unix:":               "needs the path of a socket",
		"http://127.0.0.1:80": "it takes HOST:PORT",
	} {
		p, err := parsePlace(text)
		got := p.String()
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != want || err != nil && !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		if p.Given() != (err == nil) {
			t.Errorf("%q: given %t, error %v", text, p.Given(), err)
		}
	}
}

func FuzzPlace(f *testing.F) {
	for _, seed := range []string{":9100", "9100", "[::1]:1", "unix:/x", "host:80", "::"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePlace(text)
		if err != nil {
			return
		}
		if again, err := parsePlace(p.String()); err != nil || again != p {
			t.Errorf("%q is %v, and that is %v: %v", text, p, again, err)
		}
	})
}

// TestRefusals checks what is said where nobody can listen.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "used")
	unix, err := net.Listen("unix", used)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for _, tt := range []struct{ at, want string }{
		{tcp.Addr().String(), "address already in use (another process listens there; name another port or path)"},
		{"unix:" + used, "address already in use (another process listens there; name another port or path)"},
		{"unix:" + file, "there is a file that is no socket; name another path"},
		{"unix:" + dir + "/none/m.sock", "no such file or directory (the directory is not there; make it first)"},
		{"192.0.2.1:9100", "cannot assign requested address (this machine does not have the address)"},
	} {
		var at Place
		if err := at.Set(tt.at); err != nil {
			t.Fatal(err)
		}
		m, err := Listen(at)
		if err == nil {
			m.Close()
			t.Errorf("%s: it listens", tt.at)
			continue
		}
		if want := "--metrics " + at.String() + ": " + tt.want; err.Error() != want {
			t.Errorf("%s: %v, want %s", tt.at, err, want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "kept" {
		t.Errorf("the file was touched: %v %q", err, b)
	}
}

// TestStaleSocket checks that the socket of a process that was killed is replaced, and
// that one's own is removed.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := Listen(Place{"unix", path})
	if err != nil {
		t.Fatal(err)
	}
	if got := exchange(t, path, "GET /healthz HTTP/1.0\n\n"); !strings.Contains(got, statusUnavailable) {
		t.Errorf("it answers %q", got)
	}
	m.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestNowhere checks that nothing listens, and nothing observes, without a place.
func TestNowhere(t *testing.T) {
	m, err := Listen(Place{})
	if m != nil || err != nil || m.Observer(nil) != nil {
		t.Errorf("%v %v", m, err)
	}
	m.Close()
}
