package main

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// date returns the second that date(1) shows.
func date(t *testing.T) time.Time {
	t.Helper()
	out, err := exec.Command("date", "+%s").Output()
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(seconds, 0)
}

// during reports whether a time is between two of date(1), which leaves out
// fractions of a second.
func during(at, from, to time.Time) bool {
	return !at.Before(from) && at.Before(to.Add(time.Second))
}

// TestStreamTimeNamespace runs nettrace in time namespaces, whose CLOCK_MONOTONIC is
// not the kernel's.
func TestStreamTimeNamespace(t *testing.T) {
	for _, shift := range []string{"100000", "-5"} {
		t.Run(shift, func(t *testing.T) {
			netns := newNetns(t)
			tr := traceUnder(t, []string{"unshare", "-T", "--monotonic", shift, "--fork"}, netns, "", "--count", "3")
			from := date(t)
			runLoad(t, load.Client(1, 3, load.Refused), netns)
			tr.wait("stop", 1)
			to := date(t)
			if err := tr.cmd.Wait(); err != nil {
				t.Fatal(err, tr.stderr.String())
			}
			n := 0
			for _, r := range tr.records() {
				if !during(r.Timestamp, from.Add(-time.Minute), to) {
					t.Errorf("%s at %v, not about %v", r.Event, r.Timestamp, to)
				}
				if r.Event != "tcp_state" && r.Event != "tcp_close" {
					continue
				}
				n++
				if !during(r.Timestamp, from, to) || !r.Start.IsZero() && !during(r.Start, from, to) {
					t.Errorf("%s at %v of a connection of %v: not between %v and %v", r.Event, r.Timestamp, r.Start, from, to)
				}
			}
			if n == 0 {
				t.Error("no change was recorded")
			}
		})
	}
}

// TestStreamClockSet sets the clock while nettrace runs, forward and back. What
// comes afterwards has the new time at once, and what began before keeps its start.
func TestStreamClockSet(t *testing.T) {
	if !inMachine {
		t.Skip("sets the clock: only in a test machine")
	}
	netns := newNetns(t)
	tr := trace(t, netns, "")
	for _, step := range []time.Duration{5 * time.Hour, -5 * time.Hour} {
		seen := len(tr.records())
		began := date(t)
		held := startLoad(t, load.Holder(1, 1), netns)
		if err := held.Go(); err != nil {
			t.Fatal(err)
		}
		if err := held.Done(); err != nil {
			t.Fatal(err)
		}
		open := date(t)
		setDate(t, open.Add(step))
		from := date(t)
		runLoad(t, load.Client(1, 1, load.Refused), netns)
		if err := held.Stop(); err != nil {
			t.Fatal(err)
		}
		tr.quiet()
		to := date(t)
		refused, closed := 0, 0
		for _, r := range tr.records()[seen:] {
			switch {
			case r.RemotePort == load.ClosedPort && r.Event == "tcp_state":
				refused++
				if !during(r.Timestamp, from, to) {
					t.Errorf("a connection after the step at %v, not between %v and %v", r.Timestamp, from, to)
				}
			case r.RemotePort != load.ClosedPort && r.Event == "tcp_close":
				closed++
				if !during(r.Timestamp, from, to) || !during(r.Start, began, open) {
					t.Errorf("a close at %v of a connection of %v, not between %v and %v, and %v and %v",
						r.Timestamp, r.Start, from, to, began, open)
				}
			}
		}
		if refused == 0 || closed == 0 {
			t.Errorf("%d changes of a connection after the step, %d closes of those before it", refused, closed)
		}
	}
	tr.stop()
}

func setDate(t *testing.T, to time.Time) {
	t.Helper()
	if out, err := exec.Command("date", "-s", "@"+strconv.FormatInt(to.Unix(), 10)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
