package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
)

// TestPidNamespaces runs the tracer outside of a pid namespace, in it, and in one within
// it, and processes in all three. Each record has the number that the process has where
// the tracer runs, or none; the judge is NSpid in /proc/PID/status.
func TestPidNamespaces(t *testing.T) {
	for depth, where := range []string{"outside", "inside", "nested"} {
		for _, args := range [][]string{nil, {"--all-netns"}} {
			t.Run(fmt.Sprint(where, args), func(t *testing.T) {
				outside := place{netns: newNetns(t)}
				inside := outside.nest(t)
				places := []place{outside, inside, inside.nest(t)}
				checkPidNamespaces(t, places, places[depth], depth, args)
			})
		}
	}
}

// TestPidNamespaceBorrowed runs the tracer in a pid namespace that has the /proc of the
// one around it, as unshare -p alone leaves it: ps shows the numbers of that one.
func TestPidNamespaceBorrowed(t *testing.T) {
	outside := place{netns: newNetns(t)}
	inside := outside.nest(t)
	tracer := outside.nestBare(t)
	checkPidNamespaces(t, []place{outside, inside, tracer}, tracer, 0, nil)
}

// dweller is a process in one of the pid namespaces, known by its name.
type dweller struct {
	*actor
	port   uint16
	number int // where the tracer runs; 0: none
}

// checkPidNamespaces runs the tracer in a place whose /proc shows the pid namespace at a
// depth, counted from where the test runs.
func checkPidNamespaces(t *testing.T, places []place, where place, depth int, args []string) {
	t.Helper()
	dwellers := make(map[string]*dweller)
	listeners := make(map[uint16]string)
	for i, p := range places {
		for j := range 3 {
			name := fmt.Sprintf("dweller %d.%d", i, j)
			d := &dweller{actor: p.actor(t), port: actorPort + uint16(10*i+j)}
			d.do(order{Do: "rename", Name: name, Title: name})
			// The base of the list is where the test runs.
			if numbers := nsNumbers(t, d.pid); len(numbers) > depth {
				d.number = numbers[depth]
			}
			dwellers[name] = d
			listeners[d.port] = name
		}
	}
	fds := make(map[string]int)
	for name, d := range dwellers { // half of them were there before
		if d.port%2 == 0 {
			fds[name] = d.do(order{Do: "listen", Port: d.port}).FD
		}
	}
	tr := where.trace(t, args...)
	for name, d := range dwellers {
		if d.port%2 != 0 {
			fds[name] = d.do(order{Do: "listen", Port: d.port}).FD
		}
	}
	clients := make(map[[2]uint16]string) // by the port that connect was given and the listener's
	for name, d := range dwellers {
		for port := range listeners {
			made := d.do(order{Do: "connect", Port: port})
			clients[[2]uint16{made.Local, port}] = name
		}
	}
	for name, d := range dwellers {
		d.do(order{Do: "accept", FD: fds[name]})
	}
	tr.settle()
	for _, d := range dwellers {
		d.end()
	}
	known := make(map[string]int)
	wrong := problems{t: t}
	for _, c := range tr.claims(places[0].netns) {
		owner := listeners[c.LocalPort]
		if c.isClient() {
			owner = clients[[2]uint16{c.LocalPort, c.RemotePort}]
		}
		d := dwellers[owner]
		if d == nil {
			wrong.add("a connection that nobody made: %+v", c)
			continue
		}
		if c.PID != 0 && c.PID != d.number || c.Comm != "" && c.Comm != owner {
			wrong.add("%s %s -> %s of %q, which is %d there: reported as %d %q (%s)", c.Event, c.OldState, c.NewState, owner, d.number, c.PID, c.Comm, c.OwnerSrc)
		}
		if c.PID == 0 && c.TID != 0 {
			wrong.add("a thread %d of no process: %+v", c.TID, c)
		}
		if c.Comm == owner && c.PID == d.number && (c.Cmdline == "" || c.Cmdline == owner) {
			known[owner]++
		}
	}
	for name, d := range dwellers {
		if known[name] == 0 && d.number != 0 {
			t.Errorf("%q, which is %d there, owns nothing", name, d.number)
		}
	}
}

// TestPidNamespaceStrangers has a thousand connections made by processes that use the
// same few numbers one after the other, in a pid namespace. The judge is who connected
// where.
func TestPidNamespaceStrangers(t *testing.T) {
	for depth, where := range []string{"outside", "inside"} {
		t.Run(where, func(t *testing.T) {
			outside := place{netns: newNetns(t)}
			places := []place{outside, outside.nest(t)}
			maker := places[1].actor(t)
			tr := places[depth].trace(t)
			processes, each := 100, 10
			if inMachine { // where starting one takes a third of a second
				processes = 30
			}
			want := make(map[string]string) // names by address
			numbers := make(map[string]int) // inside, by name
			used := make(map[int]int)
			for i := range processes {
				name := "stranger " + strconv.Itoa(i)
				o := order{Do: "recycle", Port: actorPort + 1, Name: strconv.Itoa(400 + i%3), Title: name}
				for j := range each {
					addr := netip.AddrFrom4([4]byte{127, 1, byte(i), byte(j + 1)}).String()
					want[addr] = name
					o.Argv = append(o.Argv, addr)
				}
				numbers[name] = maker.do(o).FD
				used[numbers[name]]++
			}
			if len(used) > processes/4 {
				t.Errorf("the numbers were not used again: %v", used)
			}
			wrong := problems{t: t}
			seen := make(map[string]bool)
			for _, c := range tr.claims(outside.netns) {
				name := want[c.RemoteAddr]
				seen[c.RemoteAddr] = seen[c.RemoteAddr] || c.Comm == name
				if c.Comm != "" && c.Comm != name {
					wrong.add("%s was connected to by %q, reported is %q", c.RemoteAddr, name, c.Comm)
				}
				if depth == 1 && c.PID != numbers[name] {
					wrong.add("%s was connected to by %d, reported is %d", c.RemoteAddr, numbers[name], c.PID)
				}
			}
			if len(seen) != processes*each {
				t.Errorf("%d connections were reported, want %d", len(seen), processes*each)
			}
			for addr, known := range seen {
				if !known {
					wrong.add("nobody is reported for %s", addr)
				}
			}
		})
	}
}
