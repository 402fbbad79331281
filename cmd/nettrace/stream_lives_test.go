package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
)

// nextStates is the TCP state diagram (RFC 9293, 3.3.2) as Linux implements it. A
// reset or a timer leads from every state to CLOSE.
var nextStates = map[string][]string{
	"CLOSE":       {"LISTEN", "SYN_SENT"},
	"LISTEN":      {"SYN_RECV", "CLOSE"},
	"SYN_SENT":    {"ESTABLISHED", "SYN_RECV", "CLOSE"},
	"SYN_RECV":    {"ESTABLISHED", "FIN_WAIT1", "CLOSE_WAIT", "CLOSE"},
	"ESTABLISHED": {"FIN_WAIT1", "CLOSE_WAIT", "CLOSE"},
	"FIN_WAIT1":   {"FIN_WAIT2", "CLOSING", "TIME_WAIT", "CLOSE"},
	"FIN_WAIT2":   {"TIME_WAIT", "CLOSE"},
	"CLOSING":     {"TIME_WAIT", "CLOSE"},
	"TIME_WAIT":   {"CLOSE"},
	"CLOSE_WAIT":  {"LAST_ACK", "CLOSE"},
	"LAST_ACK":    {"CLOSE"},
}

// life holds all that was reported of one connection.
type life struct {
	first    record // its socket record or its first transition
	last     record // its last transition
	states   []string
	closes   []record
	inferred int
}

// lives groups the records by connection, and checks each connection's transitions
// against the state diagram.
func lives(t *testing.T, records []record) map[string]*life {
	t.Helper()
	all := make(map[string]*life)
	problems := 0
	problem := func(format string, args ...any) {
		if problems++; problems < 20 {
			t.Errorf(format, args...)
		}
	}
	for _, r := range records {
		if r.ConnID == "" {
			continue
		}
		l := all[r.ConnID]
		switch {
		case l == nil && r.Event == "tcp_close":
			problem("close of an unknown connection: %+v", r)
			continue
		case l == nil:
			l = &life{first: r, last: r, states: []string{r.State}}
			all[r.ConnID] = l
			if r.Event == "socket" {
				continue
			}
			l.states[0] = r.OldState
		}
		last := l.states[len(l.states)-1]
		switch r.Event {
		case "socket": // the owner was found late
			if r.State != last {
				problem("%s: a socket record in %s after %v", r.ConnID, r.State, l.states)
			}
		case "tcp_state":
			if r.OldState != last {
				problem("%s: %s -> %s after %v", r.ConnID, r.OldState, r.NewState, l.states)
			}
			if r.Inferred {
				l.inferred++
			} else if !slices.Contains(nextStates[r.OldState], r.NewState) {
				problem("%s: impossible transition %s -> %s after %v", r.ConnID, r.OldState, r.NewState, l.states)
			}
			l.states = append(l.states, r.NewState)
			l.last = r
		case "tcp_close":
			if last != "CLOSE" && last != "TIME_WAIT" {
				problem("closed in %s: %+v", last, r)
			}
			if len(l.closes) > 0 {
				problem("closed twice: %+v", r)
			}
			l.closes = append(l.closes, r)
		}
	}
	return all
}

// compareTables compares the sockets that are open according to the records with
// those of /proc/net/tcp and tcp6, which were read between the times from and to. A
// timewait socket may expire in between and be in only one of the two tables, so
// those whose 60 s (TCP_TIMEWAIT_LEN, tcp_fin_timeout) may be over are left out.
func compareTables(t *testing.T, kernel []string, from, to int64, all map[string]*life) {
	t.Helper()
	const timewait, margin = int64(60 * time.Second), int64(2 * time.Second)
	var rows []string
	expiring := make(map[string]bool)
	for _, l := range all {
		state := l.states[len(l.states)-1]
		r := l.last
		ended := state == "CLOSE"
		if ended {
			if state = r.OldState; r.MonoNS < from-margin {
				continue
			}
		}
		expires := state == "TIME_WAIT" || state == "FIN_WAIT2"
		row := tableRow(r.LocalAddr, r.LocalPort, r.RemoteAddr, r.RemotePort, state)
		switch {
		case expires && (ended || to-r.MonoNS > timewait-margin):
			expiring[row] = true
		case !ended:
			rows = append(rows, row)
		}
	}
	slices.Sort(rows)
	kernel = slices.DeleteFunc(kernel, func(row string) bool { return expiring[row] })
	slices.Sort(kernel)
	if diff := cmp.Diff(kernel, rows); diff != "" {
		t.Errorf("the table differs from the kernel's (-kernel +nettrace):\n%.4000s", diff)
	}
}

func monotonic(t *testing.T) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Nano()
}

// kernelTable returns the TCP sockets of a namespace as compareTables writes them.
func kernelTable(t *testing.T, netns string) []string {
	t.Helper()
	var rows []string
	for _, s := range testnet.TCPSockets(t, netns) {
		rows = append(rows, tableRow(s.Local.Addr(), s.Local.Port(), s.Remote.Addr(), s.Remote.Port(), s.State))
	}
	return rows
}

// tableRow writes a socket as one line. Addresses and states are strings, or
// types that print as such.
func tableRow(local any, localPort uint16, remote any, remotePort uint16, state any) string {
	return fmt.Sprintf("%v:%d %v:%d %v", local, localPort, remote, remotePort, state)
}
