package container

import (
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/cgroup"
	"github.com/nettrace/nettrace/internal/clock"
	"github.com/nettrace/nettrace/snapshot"
)

// fakeHost knows what a test says, and counts who asks.
type fakeHost struct {
	mu        sync.Mutex
	cgroups   map[uint64]string // paths
	processes map[int]string
	names     map[string]string // of containers
	asked     int
	askers    map[string]bool // goroutines
}

func (f *fakeHost) ask() func() {
	f.mu.Lock()
	f.asked++
	if f.askers == nil {
		f.askers = map[string]bool{}
	}
	f.askers[goroutine()] = true
	return f.mu.Unlock
}

// goroutine names the one that runs.
func goroutine() string {
	var stack [64]byte
	name, _, _ := strings.Cut(string(stack[:runtime.Stack(stack[:], false)]), " [")
	return name
}

func (f *fakeHost) found(path string, ok bool) Found {
	if !ok {
		return Found{}
	}
	p := ParsePath(path)
	w := p.workload()
	w.ContainerName = f.names[w.ContainerID]
	return Found{Workload: &w, Place: p, Whole: w.ContainerID == "" || w.ContainerName != ""}
}

func (f *fakeHost) Cgroup(id uint64) Found {
	defer f.ask()()
	path, ok := f.cgroups[id]
	return f.found(path, ok)
}

func (f *fakeHost) Owner(p *snapshot.Process, _ uint64) Found {
	defer f.ask()()
	path, ok := f.processes[p.PID]
	return f.found(path, ok)
}

func (f *fakeHost) Named(p Place) Found {
	defer f.ask()()
	w := p.workload()
	w.ContainerName = f.names[w.ContainerID]
	return Found{Workload: &w, Place: p, Whole: w.ContainerName != ""}
}

func (f *fakeHost) Cgroups() iter.Seq2[uint64, string] {
	return func(func(uint64, string) bool) { defer f.ask()() }
}

// set changes what the host knows.
func (f *fakeHost) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// answerAll answers what was asked, as the worker does.
func (c *Cache) answerAll() {
	for len(c.worker.asks) > 0 {
		c.worker.answer(<-c.worker.asks)
	}
}

func head(cgroup uint64, p *snapshot.Process, source snapshot.OwnerSource) *snapshot.Head {
	return &snapshot.Head{CgroupID: cgroup, Owner: snapshot.Owner{Process: p, Source: source}}
}

func nameOf(w *snapshot.Workload) string {
	if w == nil {
		return ""
	}
	return w.ContainerName + w.Unit
}

// TestOfReadsNothing asks a cache for thousands of cgroups and processes, whose worker
// does not run and then runs. The goroutine that asks never looks anything up, and what is
// known costs no allocation.
func TestOfReadsNothing(t *testing.T) {
	f := &fakeHost{cgroups: map[uint64]string{1: "/docker/" + idA}, names: map[string]string{idA: "web"}}
	c := newCache(f, true)
	p := &snapshot.Process{PID: 1, Comm: "x"}
	for i := range uint64(20_000) {
		c.Of(head(i, &snapshot.Process{PID: int(i)}, snapshot.OwnerSocket), 0)
		c.Of(head(i, p, snapshot.OwnerFiles), 0)
	}
	c.Settle()
	if f.asked != 0 {
		t.Fatalf("%d questions without a worker", f.asked)
	}
	if n := len(c.cgroups.young) + len(c.cgroups.old); n > 2*cgroupsMost {
		t.Errorf("%d cgroups are kept", n)
	}
	if n := len(c.processes.young) + len(c.processes.old); n > 2*processesMost {
		t.Errorf("%d processes are kept", n)
	}
	go c.worker.run(newWatch(&cgroup.Tree{Root: "/nowhere"}))
	defer c.Close()
	h := head(1, nil, 0)
	for end := time.Now().Add(time.Minute); nameOf(c.Of(h, 0)) != "web"; {
		if time.Now().After(end) {
			t.Fatal("the worker does not answer")
		}
		time.Sleep(time.Millisecond)
		c.Settle()
	}
	if n := testing.AllocsPerRun(1000, func() { c.Of(h, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	f.set(func() {
		if f.asked == 0 || f.askers[goroutine()] {
			t.Errorf("%d questions, by %v: this is %s", f.asked, f.askers, goroutine())
		}
	})
}

// TestMoved has a process connect and then move to its container's cgroup: the close, a
// second and more later, tells the container.
func TestMoved(t *testing.T) {
	f := &fakeHost{
		cgroups: map[uint64]string{7: "/system.slice/run.service"}, processes: map[int]string{5: "/system.slice/run.service"},
		names: map[string]string{idA: "web"},
	}
	c := newCache(f, false)
	p := &snapshot.Process{PID: 5}
	h, began := head(7, p, snapshot.OwnerSocket), c.now
	of := func() string {
		c.Of(h, began)
		c.answerAll()
		return nameOf(c.Of(h, began))
	}
	if got := of(); got != "run.service" {
		t.Errorf("at first: %q", got)
	}
	f.set(func() { f.processes[5] = "/docker/" + idA })
	if got := of(); got != "run.service" {
		t.Errorf("too young to be looked at again: %q", got)
	}
	c.now += settled
	if got := of(); got != "web" {
		t.Errorf("at the close: %q", got)
	}
	f.set(func() { delete(f.processes, 5) })
	c.now += uint64(time.Hour)
	if got := of(); got != "web" {
		t.Errorf("when the process is gone: %q", got)
	}
}

// TestRevisited has a process move while its socket is silent: what the close asks is
// answered at once. One that is gone, or has arrived, is not looked at again.
func TestRevisited(t *testing.T) {
	f := &fakeHost{
		cgroups: map[uint64]string{7: "/system.slice/run.service"}, names: map[string]string{idA: "web"},
		processes: map[int]string{5: "/system.slice/run.service", 6: "/docker/" + idA},
	}
	c := newCache(f, false)
	mover, gone, there := &snapshot.Process{PID: 5}, &snapshot.Process{PID: 4}, &snapshot.Process{PID: 6}
	began := c.now
	later := func(d uint64) {
		c.now += d
		c.revisit()
		c.answerAll()
	}
	for _, p := range []*snapshot.Process{mover, gone, there, mover} {
		c.Of(head(7, p, snapshot.OwnerSocket), began)
	}
	c.answerAll()
	asked := f.asked
	later(settled / 2)
	if f.asked != asked || len(c.revisits.list) != 3 {
		t.Errorf("%d questions of %d before the sockets have settled", f.asked-asked, len(c.revisits.list))
	}
	later(settled)
	f.processes[5] = "/docker/" + idA
	later(revisitAgain + settled)
	if len(c.revisits.list) != 1 {
		t.Errorf("%d processes are looked at again, want the one that stayed where it was", len(c.revisits.list))
	}
	if got := nameOf(c.Of(head(7, mover, snapshot.OwnerSocket), began)); got != "web" {
		t.Errorf("at the close: %q", got)
	}
	later(revisitAgain + settled)
	if len(c.revisits.list) != 0 {
		t.Errorf("%d processes are looked at again", len(c.revisits.list))
	}
	for i := range 10 * revisitsMost {
		c.Of(head(7, &snapshot.Process{PID: 100 + i}, snapshot.OwnerSocket), c.now)
	}
	if n := len(c.revisits.list); n != revisitsMost {
		t.Errorf("%d processes wait", n)
	}
}

// TestRemembered has a container whose name comes late, and that ends.
func TestRemembered(t *testing.T) {
	f := &fakeHost{cgroups: map[uint64]string{}, names: map[string]string{}}
	c := newCache(f, false)
	h := head(7, nil, 0)
	of := func(after time.Duration) *snapshot.Workload {
		c.now = clock.Now() + uint64(after)
		c.Of(h, 0)
		c.answerAll()
		return c.Of(h, 0)
	}
	if w := of(0); w != nil {
		t.Errorf("an unknown cgroup: %+v", w)
	}
	asked := f.asked
	if of(0); f.asked != asked {
		t.Error("what is not known is asked again at once")
	}
	f.cgroups[7] = "/docker/" + idA
	if w := of(time.Second); w == nil || w.ContainerID != idA || w.ContainerName != "" {
		t.Errorf("that it is not known did not expire: %+v", w)
	}
	f.names[idA] = "web"
	first := of(time.Minute)
	if nameOf(first) != "web" {
		t.Errorf("the name comes late: %+v", first)
	}
	delete(f.cgroups, 7)
	delete(f.names, idA)
	if w := of(time.Hour); w != first {
		t.Errorf("it has ended: %+v, want %+v", w, first)
	}
	f.names[idA] = "renamed"
	if w := of(2 * time.Hour); nameOf(w) != "renamed" || nameOf(first) != "web" {
		t.Errorf("renamed: %+v; before: %+v", w, first)
	}
}

// TestRememberedOfAnother has a process move: names of where it was are not those of where
// it is.
func TestRememberedOfAnother(t *testing.T) {
	pod := snapshot.Workload{ContainerID: idA, ContainerName: "web", Pod: "web-0", Namespace: "shop", PodContainer: "web", PodUID: uid}
	found := func(w snapshot.Workload) Found {
		p := Place{ID: w.ContainerID, Name: w.ContainerName, PodUID: w.PodUID}
		if w.PodUID != "" {
			p.PodContainer = w.ContainerID
		}
		return Found{Workload: &w, Place: p}
	}
	for _, tt := range []struct {
		name        string
		before, now snapshot.Workload
		want        snapshot.Workload
	}{
		{"it has ended", pod, snapshot.Workload{ContainerID: idA, PodUID: uid}, pod},
		{"another container", pod, snapshot.Workload{ContainerID: idB}, snapshot.Workload{ContainerID: idB}},
		{
			"another one of the pod", pod, snapshot.Workload{ContainerID: idB, PodUID: uid},
			snapshot.Workload{ContainerID: idB, PodUID: uid, Pod: "web-0", Namespace: "shop"},
		},
		{"from LXC to a service", snapshot.Workload{ContainerName: "box"}, snapshot.Workload{Unit: "a.service"}, snapshot.Workload{Unit: "a.service"}},
		{"another name", pod, snapshot.Workload{ContainerID: idA, ContainerName: "new"}, snapshot.Workload{ContainerID: idA, ContainerName: "new"}},
	} {
		if got := remembered(found(tt.before), found(tt.now)); *got.Workload != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, *got.Workload, tt.want)
		}
	}
}

// TestOwnersByFiles has a socket that systemd made for a service: its cgroup tells nothing
// of the process.
func TestOwnersByFiles(t *testing.T) {
	f := &fakeHost{
		cgroups:   map[uint64]string{1: "/init.scope", 2: "/docker/" + idA},
		processes: map[int]string{5: "/system.slice/nginx.service"}, names: map[string]string{idA: "web"},
	}
	c := newCache(f, false)
	of := func(cgroup uint64, p *snapshot.Process, source snapshot.OwnerSource) string {
		h := head(cgroup, p, source)
		c.Of(h, c.now)
		c.answerAll()
		return nameOf(c.Of(h, c.now))
	}
	nginx, gone, outside := &snapshot.Process{PID: 5}, &snapshot.Process{PID: 6}, &snapshot.Process{}
	for _, tt := range []struct {
		name   string
		cgroup uint64
		p      *snapshot.Process
		source snapshot.OwnerSource
		want   string
	}{
		{"the process is known", 1, nginx, snapshot.OwnerFiles, "nginx.service"},
		{"and is gone", 1, gone, snapshot.OwnerFiles, ""},
		{"and it listens", 1, gone, snapshot.OwnerListener, ""},
		{"and has no number here", 1, outside, snapshot.OwnerFiles, "init.scope"},
		{"nobody is known", 1, nil, 0, "init.scope"},
		{"the call was seen", 1, nginx, snapshot.OwnerSocket, "init.scope"},
		{"in a container", 2, gone, snapshot.OwnerFiles, "web"},
		{"no cgroup", 0, nginx, snapshot.OwnerFiles, "nginx.service"},
		{"nothing", 0, nil, 0, ""},
	} {
		if got := of(tt.cgroup, tt.p, tt.source); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestLegacy has version 1 in use: the cgroup of version 2 is the root for all.
func TestLegacy(t *testing.T) {
	f := &fakeHost{cgroups: map[uint64]string{1: "/"}, processes: map[int]string{5: "/docker/" + idA}, names: map[string]string{idA: "web"}}
	c := newCache(f, true)
	h := head(1, &snapshot.Process{PID: 5}, snapshot.OwnerSocket)
	c.Of(h, c.now)
	c.answerAll()
	if got := nameOf(c.Of(h, c.now)); got != "web" {
		t.Errorf("%q", got)
	}
	for text, want := range map[string]bool{"0::/x\n": false, "4:memory:/x\n0::/\n": true, "": false} {
		path := filepath.Join(t.TempDir(), "cgroup")
		write(t, filepath.Dir(path), "cgroup", text)
		if got := isLegacy(path); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestManyQuestions asks more than wait: the others are asked again later.
func TestManyQuestions(t *testing.T) {
	f := &fakeHost{cgroups: map[uint64]string{}}
	c := newCache(f, false)
	const many = 3 * asksMost
	for i := range uint64(many) {
		f.cgroups[i+1] = "/system.slice/a.service"
		c.Of(head(i+1, nil, 0), 0)
	}
	if n := c.worker.waiting.Load(); n != asksMost {
		t.Errorf("%d wait", n)
	}
	for range 3 {
		c.answerAll()
		for i := range uint64(many) {
			c.Of(head(i+1, nil, 0), 0)
		}
	}
	for i := range uint64(many) {
		if w := c.Of(head(i+1, nil, 0), 0); w == nil {
			t.Fatalf("cgroup %d is not known", i+1)
		}
	}
}

func TestPace(t *testing.T) {
	p := paceMost
	if d := p.after(0, 40*time.Millisecond); d != 0 {
		t.Errorf("a little at once: rest %v", d)
	}
	if d := p.after(0, 20*time.Millisecond); d != 100*time.Millisecond {
		t.Errorf("10 ms too much: rest %v", d)
	}
	if d := p.after(time.Second, 10*time.Millisecond); d != 0 {
		t.Errorf("after a second without work: rest %v", d)
	}
}

// TestRealCgroups makes cgroups as runtimes do. Those of the start are known from Begin
// on, and new ones when they are made: the first question has its answer.
func TestRealCgroups(t *testing.T) {
	root := realRoot(t)
	_, hostRoot := host(t)
	before := filepath.Join(root, "system.slice", "docker-"+idA+".scope")
	mkdir(t, before)
	c := Start(NewHost("", hostRoot, root))
	defer c.Close()
	c.Begin(func() {})
	tree := &cgroup.Tree{Root: root}
	of := func(path string) *snapshot.Workload {
		id, ok := tree.ID(path)
		if !ok {
			t.Fatalf("no cgroup %s", path)
		}
		return c.Of(head(id, nil, 0), 0)
	}
	if w := of("/system.slice/docker-" + idA + ".scope"); w == nil || w.ContainerName != "web_1" {
		t.Errorf("a container of the start: %+v", w)
	}
	inLogs := strings.Repeat("e5", 32)
	pod := "/kubepods/burstable/pod" + uid + "/" + inLogs
	mkdir(t, filepath.Join(root, pod))
	waitFor(t, func() bool { return c.shelf.some.Load() })
	var w *snapshot.Workload
	waitFor(t, func() bool {
		c.Settle()
		id, _ := tree.ID(pod)
		if c.cgroups.get(id) == nil {
			return false
		}
		w = c.Of(head(id, nil, 0), 0)
		return true
	})
	if w == nil || w.Pod != "web-0" || w.Namespace != "shop" || w.PodContainer != "app" || w.ContainerID != inLogs {
		t.Errorf("a container that was made since: %+v", w)
	}
	id, _ := tree.ID(pod)
	if err := os.Remove(filepath.Join(root, pod)); err != nil {
		t.Fatal(err)
	}
	c.Settle()
	if got := c.Of(head(id, nil, 0), 0); got != w {
		t.Errorf("when it has ended: %+v", got)
	}
}

// waitFor waits until something holds. The kernel tells of new cgroups at once; how busy
// the machine is nobody knows.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

// realRoot is a cgroup of the test's own, or a directory where none can be made: there
// too inotify tells of new directories, and each has an inode.
func realRoot(t *testing.T) string {
	if mount := new(cgroup.Tree).Mount(); mount != "" {
		if dir, err := os.MkdirTemp(mount, "nettrace-test-"); err == nil {
			t.Cleanup(func() { removeCgroups(dir) })
			return dir
		}
	}
	t.Log("no cgroup can be made here: a directory stands for it")
	return t.TempDir()
}

// removeCgroups removes a cgroup and those in it, which have files that cannot be removed.
func removeCgroups(dir string) {
	entries, _ := os.ReadDir(dir) // it is gone
	for _, e := range entries {
		if e.IsDir() {
			removeCgroups(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir)
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkOf asks for the cgroups of a machine in turn, as the records of a stream do.
func BenchmarkOf(b *testing.B) {
	f := &fakeHost{cgroups: map[uint64]string{}, names: map[string]string{idA: "web"}}
	c := newCache(f, false)
	var heads []*snapshot.Head
	for i := range uint64(100) {
		f.cgroups[i+1] = "/docker/" + idA
		heads = append(heads, head(i+1, &snapshot.Process{PID: 1}, snapshot.OwnerSocket))
		c.Of(heads[i], 0)
	}
	c.answerAll()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if c.Of(heads[i%len(heads)], 0) == nil {
			b.Fatal("not known")
		}
		i++
	}
}
