package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/cgroup"
)

// placed is what a record says of where the owner runs.
type placed struct {
	Event       string `json:"event"`
	LocalPort   uint16 `json:"local_port"`
	NewState    string `json:"new_state"`
	ContainerID string `json:"container_id"`
	PodUID      string `json:"k8s_pod_uid"`
	Container   string `json:"container_name"`
	Unit        string `json:"unit"`
}

// cgroupTree makes cgroups of version 2 below the root of the hierarchy, where systemd and
// the runtimes have theirs: some under names of the test's own.
type cgroupTree struct {
	t    *testing.T
	root string
}

func newCgroupTree(t *testing.T) *cgroupTree {
	t.Helper()
	mount := new(cgroup.Tree).Mount()
	if mount == "" {
		t.Skip("needs cgroup2 to be mounted")
	}
	dir, err := os.MkdirTemp(mount, "nettrace-test-")
	if err != nil {
		t.Skip("needs to make cgroups: ", err)
	}
	c := &cgroupTree{t, dir}
	t.Cleanup(func() { c.remove(dir) })
	return c
}

// remove removes a cgroup and those in it, once their processes have ended.
func (c *cgroupTree) remove(dir string) {
	entries, _ := os.ReadDir(dir) // it may be gone
	for _, e := range entries {
		if e.IsDir() {
			c.remove(filepath.Join(dir, e.Name()))
		}
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
	}
	c.t.Logf("%s is left", dir)
}

func (c *cgroupTree) make(path string) string {
	c.t.Helper()
	dir := filepath.Join(c.root, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	return dir
}

// move moves a process into a cgroup.
func (c *cgroupTree) move(pid int, path string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.make(path), "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		c.t.Fatal(err)
	}
}

// contain moves the test into a cgroup as Docker makes them, until it ends, and returns the
// id of that container; "-" where no cgroup can be made.
func contain(t *testing.T) string {
	t.Helper()
	mount := new(cgroup.Tree).Mount()
	text, err := os.ReadFile("/proc/self/cgroup")
	_, home, found := strings.Cut("\n"+string(text), "\n0::")
	if mount == "" || err != nil || !found {
		return "-"
	}
	dir, err := os.MkdirTemp(mount, "nettrace-test-")
	if err != nil {
		t.Logf("not in a container: %v", err)
		return "-"
	}
	c := &cgroupTree{t, dir}
	id := testID("0c")
	c.move(os.Getpid(), "docker/"+id)
	t.Cleanup(func() {
		home, _, _ := strings.Cut(home, "\n")
		back := filepath.Join(mount, home, "cgroup.procs")
		if err := os.WriteFile(back, []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			t.Errorf("the test stays in %s: %v", dir, err)
		}
		c.remove(dir)
	})
	return id
}

// tells returns the records of a run so far.
func (tr *tracing) tells() []placed {
	tr.t.Helper()
	text, err := os.ReadFile(tr.path)
	if err != nil {
		tr.t.Fatal(err)
	}
	var all []placed
	for line := range bytes.Lines(text) {
		var r placed
		if line[len(line)-1] == '\n' && json.Unmarshal(line, &r) == nil && r.LocalPort != 0 {
			all = append(all, r)
		}
	}
	return all
}

// where is the container, the pod's uid and the unit that a record tells.
type where [3]string

func (r *placed) where() where { return where{r.ContainerID + r.Container, r.PodUID, r.Unit} }

const testPod = "6f3c5b8e-1d2e-4f50-8a9b-0c1d2e3f4a5b"

func testID(pair string) string { return strings.Repeat(pair, 32) }

// contained are cgroups as runtimes make them, and what is placed of each.
var contained = []struct {
	path string
	want where
}{
	{"docker/" + testID("a1"), where{testID("a1")}},
	{"kubepods/burstable/pod" + testPod + "/" + testID("b2"), where{testID("b2"), testPod}},
	{"kubepods.slice/kubepods-pod" + strings.ReplaceAll(testPod, "-", "_") + ".slice/cri-containerd-" + testID("c3") + ".scope", where{testID("c3"), testPod}},
	{"kubepods.slice/kubepods-pod" + strings.ReplaceAll(testPod, "-", "_") + ".slice/crio-" + testID("d4") + ".scope", where{testID("d4"), testPod}},
	{"machine.slice/libpod-" + testID("e5") + ".scope/container", where{testID("e5")}},
	{"docker/" + testID("07") + "/kubelet/kubepods/pod" + testPod + "/" + testID("18"), where{testID("18"), testPod}},
	{"lxc.payload.box", where{"box"}},
	{"plain", where{}},
}

// TestStreamContainers has processes in cgroups of all runtimes connect. The cgroups are
// there before nettrace: each record of each connection, the first one too, tells the
// container and the pod of its process.
func TestStreamContainers(t *testing.T) {
	tree := newCgroupTree(t)
	here := place{netns: newNetns(t)}
	server := here.actor(t)
	server.do(order{Do: "listen", Port: actorPort})
	want := map[uint16]where{}
	var actors []*actor
	for _, c := range contained {
		a := here.actor(t)
		tree.move(a.pid, c.path)
		want[a.do(order{Do: "connect", Port: actorPort}).Local] = c.want
		actors = append(actors, a)
	}
	tr := trace(t, here.netns, "")
	for i, c := range contained {
		got := actors[i].do(order{Do: "connect", Port: actorPort})
		want[got.Local] = c.want
		actors[i].do(order{Do: "close", FD: got.FD})
	}
	server.end()
	tr.settle()
	tr.stop()
	seen := map[string]map[uint16]bool{}
	for _, r := range tr.tells() {
		place, ours := want[r.LocalPort]
		if !ours {
			continue
		}
		if r.where() != place {
			t.Errorf("%s %s of port %d is of %q, want %q", r.Event, r.NewState, r.LocalPort, r.where(), place)
		}
		if seen[r.Event] == nil {
			seen[r.Event] = map[uint16]bool{}
		}
		seen[r.Event][r.LocalPort] = true
	}
	for event, n := range map[string]int{"socket": len(contained), "tcp_state": len(contained), "tcp_close": len(contained)} {
		if len(seen[event]) < n {
			t.Errorf("%d connections have a record %s, want %d at least", len(seen[event]), event, n)
		}
	}
}

// TestStreamNewContainer makes a container while nettrace runs, and one whose process
// connects before it is in it. No record tells another one's, and soon all tell theirs:
// of the first from the first record on, of the second at the close.
func TestStreamNewContainer(t *testing.T) {
	tree := newCgroupTree(t)
	here := place{netns: newNetns(t)}
	server := here.actor(t)
	listener := server.do(order{Do: "listen", Port: actorPort}).FD
	closeAll := func(a *actor, fd int) { // the client first
		a.do(order{Do: "close", FD: fd})
		for _, fd := range server.do(order{Do: "accept", FD: listener}).FDs {
			server.do(order{Do: "close", FD: fd})
		}
	}
	tr := trace(t, here.netns, "")
	fresh, moved := testID("a1"), testID("b2")
	a := here.actor(t)
	tree.move(a.pid, "docker/"+fresh)
	tr.until(func() (uint16, where) {
		got := a.do(order{Do: "connect", Port: actorPort})
		closeAll(a, got.FD)
		return got.Local, where{fresh}
	}, true)
	tr.until(func() (uint16, where) {
		a := here.actor(t)
		tree.move(a.pid, "plain")
		got := a.do(order{Do: "connect", Port: actorPort})
		tree.move(a.pid, "docker/"+moved)
		time.Sleep(3 * time.Second) // it is looked at again when its socket has settled
		closeAll(a, got.FD)
		a.end()
		return got.Local, where{moved}
	}, false)
}

// until has a connection made until its close, or all of its records, tell where its
// process is. None may tell another place.
func (tr *tracing) until(connect func() (uint16, where), all bool) {
	tr.t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		port, want := connect()
		known, closed := true, false
		for range 100 {
			known, closed = true, false
			for _, r := range tr.tells() {
				if r.LocalPort != port {
					continue
				}
				if got := r.where(); got != want && got != (where{}) {
					tr.t.Errorf("%s %s is of %q, want %q", r.Event, r.NewState, got, want)
				}
				closed = closed || r.Event == "tcp_close"
				if all || r.Event == "tcp_close" {
					known = known && r.where() == want
				}
			}
			if closed {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		switch {
		case !closed:
			tr.t.Fatalf("port %d has no close", port)
		case known:
			return
		case time.Now().After(end):
			tr.t.Fatalf("nothing tells %q", want)
		}
	}
}

// TestViewContainers has views tell the container of a listener where owners are read.
func TestViewContainers(t *testing.T) {
	tree := newCgroupTree(t)
	here := place{netns: newNetns(t)}
	a, id := here.actor(t), testID("a1")
	tree.move(a.pid, "docker/"+id)
	a.do(order{Do: "listen", Port: actorPort})
	for _, tt := range []struct {
		args string
		want string // in the output; empty: there is no row
		not  string
	}{
		{"-tlnp --json", `"container_id":"` + id + `"`, ""},
		{"-tln --json --fields local_port,container_id", `,"container_id":"` + id + `"`, "pid"},
		{"-tln --json", strconv.Itoa(actorPort), "container_id"},
		{"-tlnp", strconv.Itoa(actorPort), id},
		{"-tln --filter container=" + id[:8], strconv.Itoa(actorPort), ""},
		{"-tln --json --filter k8s_pod=x,y", "", strconv.Itoa(actorPort)},
		{"-tln --json --filter has~container", strconv.Itoa(actorPort), ""},
		{"-tln --json --filter not~has~container", "", strconv.Itoa(actorPort)},
	} {
		args := strings.Fields(tt.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "~", " ")
		}
		out, stderr, status := nettraceIn(t, here.netns, 0, args...)
		if status != 0 || !strings.Contains(out, tt.want) || tt.not != "" && strings.Contains(out, tt.not) {
			t.Errorf("%s: status %d, %s%s", tt.args, status, out, stderr)
		}
	}
}
