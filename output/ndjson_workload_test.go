package output

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

func inPod() *snapshot.Workload {
	return &snapshot.Workload{
		ContainerID: strings.Repeat("0a", 32), ContainerName: "web", Namespace: "shop", Pod: "web-0", PodContainer: "web",
		PodUID: "6f3c5b8e-0000-4000-8000-000000000001", Unit: "cri-containerd-0a.scope", Slice: "kubepods.slice",
	}
}

const inPodMembers = `,"container_id":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","container_name":"web",` +
	`"k8s_namespace":"shop","k8s_pod":"web-0","k8s_container":"web","k8s_pod_uid":"6f3c5b8e-0000-4000-8000-000000000001",` +
	`"unit":"cri-containerd-0a.scope","slice":"kubepods.slice"`

// TestWorkload checks that rows, transitions and closes have what their owner runs in.
func TestWorkload(t *testing.T) {
	c := outgoing()
	c.Workload = inPod()
	for _, kind := range []table.ChangeKind{table.ChangeState, table.ChangeClose, table.ChangeOwner} {
		var out bytes.Buffer
		w := newWriter(&out, NDJSONOptions{})
		w.Change(&table.Change{Kind: kind, Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: c})
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		checkLines(t, out.Bytes())
		if !strings.Contains(out.String(), inPodMembers) {
			t.Errorf("kind %d: no %s in %s", kind, inPodMembers, out.String())
		}
	}
}

// TestWorkloadECS checks the names of ECS.
func TestWorkloadECS(t *testing.T) {
	c := outgoing()
	c.Workload = inPod()
	var out bytes.Buffer
	w := NewECS(&out, NDJSONOptions{Host: "web1"}, offset(0))
	w.Change(&table.Change{Kind: table.ChangeState, Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: c})
	c.Workload = &snapshot.Workload{Unit: "nginx.service", Slice: "system.slice"}
	w.Change(&table.Change{Kind: table.ChangeState, Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: c})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	records := checkECSLines(t, out.Bytes())
	for key, want := range map[string]string{
		"container.id": strings.Repeat("0a", 32), "container.name": "web", "orchestrator.type": "kubernetes",
		"orchestrator.namespace": "shop", "orchestrator.resource.type": "pod", "orchestrator.resource.name": "web-0",
		"orchestrator.resource.id": "6f3c5b8e-0000-4000-8000-000000000001", "nettrace.k8s_container": "web",
		"nettrace.unit": "cri-containerd-0a.scope", "nettrace.slice": "kubepods.slice",
	} {
		if got := records[0][key]; got != want {
			t.Errorf("%s: %v, want %s", key, got, want)
		}
	}
	if _, is := records[1]["orchestrator.type"]; is || records[1]["nettrace.unit"] != "nginx.service" {
		t.Errorf("of a service: %v", records[1])
	}
}

// TestCacheOfWorkloads has connections of one process in turn be of two containers, of
// none, and of one that gets another name: the lines are those of a writer without a
// cache.
func TestCacheOfWorkloads(t *testing.T) {
	one, two, renamed := inPod(), inPod(), inPod()
	two.ContainerID, two.ContainerName = strings.Repeat("0b", 32), "db"
	renamed.ContainerName = "web-old"
	var kept bytes.Buffer
	w := newWriter(&kept, NDJSONOptions{})
	for i, load := range []*snapshot.Workload{one, two, one, nil, renamed, one, nil, two} {
		c := outgoing()
		c.ID += uint64(i % 2)
		c.Workload = load
		change := &table.Change{Kind: table.ChangeState, Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: c}
		kept.Reset()
		w.Change(change)
		name := `"container_name":"`
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if load == nil {
			if strings.Contains(kept.String(), name) {
				t.Errorf("line %d has a container: %s", i, kept.String())
			}
			continue
		}
		if want := name + load.ContainerName + `"`; !strings.Contains(kept.String(), want) || !strings.Contains(kept.String(), load.ContainerID) {
			t.Errorf("line %d is not of %s: %s", i, load.ContainerName, kept.String())
		}
	}
}

// fakeWorkloads has one answer for all processes.
type fakeWorkloads struct{ *snapshot.Workload }

func (f fakeWorkloads) Of(*snapshot.Process) *snapshot.Workload { return f.Workload }

// TestWorkloadOfRows checks that rows of views have it where owners are read.
func TestWorkloadOfRows(t *testing.T) {
	var out bytes.Buffer
	w := NewRowRecords(&out, NDJSONOptions{Workloads: fakeWorkloads{inPod()}})
	holders := owners(t, map[int]string{812: "nginx\x00"})
	row := &snapshot.Socket{Head: outgoing().Head}
	row.Inode = 70
	w.Socket(noon, row, holders)
	w.Unix(noon, &snapshot.UnixSocket{Type: 1, Inode: 70}, holders)
	w.Unix(noon, &snapshot.UnixSocket{Type: 1, Inode: 71}, holders)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	checkLines(t, out.Bytes())
	if n := strings.Count(out.String(), inPodMembers); n != 2 {
		t.Errorf("%d rows have it, want 2: %s", n, out.String())
	}
}

func TestWorkloadColumns(t *testing.T) {
	c := outgoing()
	c.Workload = inPod()
	c.Workload.ContainerName = "a\nb"
	var out bytes.Buffer
	w := NewColumnText(&out, StreamStyle{}, []string{"container_id", "container_name", "k8s_namespace", "k8s_pod", "k8s_container", "k8s_pod_uid", "unit", "slice"}, offset(0), noon.Location())
	w.Header(noon)
	change := &table.Change{Kind: table.ChangeState, Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: c}
	w.Change(change)
	c.Workload = nil
	w.Change(change)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	if len(lines) < 3 {
		t.Fatalf("lines: %q", lines)
	}
	full, bare := lines[len(lines)-2], lines[len(lines)-1]
	for _, want := range []string{" 0a0a0a0a0a0a ", ` a\nb `, " shop ", " web-0 ", " 6f3c5b8e-0000-4000-8000-000000000001 ", " cri-containerd-0a.scope ", " kubepods.slice"} {
		if !strings.Contains(full+" ", want) {
			t.Errorf("no %q in %q", want, full)
		}
	}
	if n := strings.Count(bare, "-"); n < 8 {
		t.Errorf("without a container: %q", bare)
	}
}
