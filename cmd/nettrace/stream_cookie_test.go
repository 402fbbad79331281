package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
)

// cookiesOf returns the cookies of the sockets in a namespace, by their addresses, as ss(8)
// shows them.
func cookiesOf(t *testing.T, netns string) map[string]uint64 {
	t.Helper()
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skip("needs ss(8), package iproute2")
	}
	var out []byte
	var err error
	testnet.In(t, netns, func() { out, err = exec.Command("ss", "-tanHe").Output() })
	if err != nil {
		t.Fatal(err)
	}
	cookies := make(map[string]uint64)
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line) // state, queues, addresses, extensions
		_, after, found := strings.Cut(line, " sk:")
		if !found || len(words) < 5 {
			t.Fatalf("ss prints %q", line)
		}
		hex := strings.Fields(after)[0]
		cookie, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		cookies[words[3]+" "+words[4]] = cookie
	}
	return cookies
}

// cookieRecords returns the cookies that records of an event have, by the addresses of
// their sockets.
func cookieRecords(t *testing.T, file, event string) map[string]uint64 {
	t.Helper()
	lines, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cookies := make(map[string]uint64)
	for line := range bytes.Lines(lines) {
		var r struct {
			record
			Cookie uint64 `json:"cookie,string"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if r.Event == event && r.Cookie != 0 {
			port := "*"
			if r.RemotePort != 0 {
				port = fmt.Sprint(r.RemotePort)
			}
			cookies[fmt.Sprintf("%s:%d %s:%s", r.LocalAddr, r.LocalPort, r.RemoteAddr, port)] = r.Cookie
		}
	}
	return cookies
}

// TestStreamCookies has two tracers at once and a third one later. For all of them a
// connection has the same cookie in its row, its transitions and its close: the one that ss
// shows.
func TestStreamCookies(t *testing.T) {
	if os.Getenv("NETTRACE_KERNEL") == "5.10" {
		t.Skip("needs socket cookies in tracing programs (Linux 5.12)")
	}
	const ends = 20 // of ten connections
	netns := newNetns(t)
	hold := func() *load.Process {
		p := startLoad(t, load.Holder(0, ends/2), netns)
		if err := errors.Join(p.Go(), p.Done()); err != nil {
			t.Fatal(err)
		}
		return p
	}
	before := hold()
	both := []*tracing{trace(t, netns, ""), trace(t, netns, "")}
	while := hold()
	want := cookiesOf(t, netns)
	later := trace(t, netns, "")
	later.stop()
	if err := errors.Join(before.Stop(), while.Stop()); err != nil {
		t.Error(err)
	}
	check := func(tr *tracing, event string, least int) {
		t.Helper()
		n := 0
		for socket, cookie := range cookieRecords(t, tr.path, event) {
			if cookie != want[socket] {
				t.Errorf("%s of %s has the cookie %x, ss shows %x", event, socket, cookie, want[socket])
			}
			n++
		}
		if n < least {
			t.Errorf("%d sockets have a cookie in %s records, want %d", n, event, least)
		}
	}
	for _, tr := range both {
		tr.wait("tcp_close", 2*ends)
		tr.stop()
		check(tr, "socket", ends+1) // the listener too
		check(tr, "tcp_state", 2*ends)
		check(tr, "tcp_close", 2*ends)
	}
	check(later, "socket", 2*(ends+1))
}
