package container

import (
	"cmp"
	"iter"
	"os"
	"strconv"

	"github.com/nettrace/nettrace/internal/cgroup"
	"github.com/nettrace/nettrace/snapshot"
)

// Host answers from the files of this host. Each question reads some of them; what was
// read stays until the files change. It must not be used by several goroutines at once.
type Host struct {
	proc    string
	cgroups cgroup.Tree
	buf     []byte // for /proc/PID/cgroup

	kube   kubernetes
	homes  homes
	docker docker
	podman podman
}

// NewHost returns a host. proc is the root of its proc file system (empty: /proc), root
// stands before the paths of its other files, and cgroups is where its hierarchy of
// version 2 is mounted (empty: it is looked for).
func NewHost(proc, root, cgroups string) *Host {
	return &Host{
		proc: cmp.Or(proc, "/proc"), cgroups: cgroup.Tree{Root: cgroups},
		kube: newKubernetes(root), homes: newHomes(root), docker: newDocker(root), podman: newPodman(root),
	}
}

// Found is an answer.
type Found struct {
	Workload *snapshot.Workload // nil: nothing is known
	Place    Place              // what the names are asked by
	// Whole says that no name is missing: a runtime may write it a little later.
	Whole bool
}

// Cgroup returns what runs in a cgroup of version 2.
func (h *Host) Cgroup(id uint64) Found {
	path, ok := h.cgroups.Path(id)
	if !ok {
		return Found{}
	}
	return h.Named(ParsePath(path))
}

// Process returns what a process runs in now.
func (h *Host) Process(pid int) Found {
	f, err := os.Open(h.proc + "/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return Found{}
	}
	defer f.Close()
	if h.buf == nil {
		const most = 16 << 10 // such a file has a line for each of some dozen hierarchies
		h.buf = make([]byte, most)
	}
	n, _ := f.Read(h.buf) // the kernel hands it over at once
	return h.Named(ParseProcess(string(h.buf[:n])))
}

// Named looks up the names of a place.
func (h *Host) Named(p Place) Found {
	w := p.workload()
	if w == (snapshot.Workload{}) {
		return Found{Place: p, Whole: true}
	}
	whole := true
	if p.ID != "" {
		w.ContainerName = h.containerName(&p)
		whole = w.ContainerName != ""
	}
	if p.PodUID != "" {
		pod := h.pod(&p)
		w.Pod, w.Namespace, w.PodContainer = pod.pod, pod.namespace, pod.container
		whole = whole && w.Pod != ""
	}
	return Found{Workload: &w, Place: p, Whole: whole}
}

// containerName returns the name of the innermost container: the runtime's, or the one
// that it has in its pod.
func (h *Host) containerName(p *Place) string {
	if p.ID == p.PodContainer {
		return h.pod(p).container
	}
	return h.stateName(p.Runtime, p.ID, p.UserID)
}

// pod returns the names of a pod and of its container.
func (h *Host) pod(p *Place) podMember {
	if m := h.kube.container(p.PodContainer); m.pod != "" {
		return m
	}
	runtime := p.Runtime
	if p.ID != p.PodContainer { // it is that of the container inside
		runtime = RuntimeUnknown
	}
	if m, ok := runtimeName(h.stateName(runtime, p.PodContainer, "")); ok {
		return m
	}
	return h.kube.pod(p.PodUID)
}

// stateName returns the name in the state of a runtime. Where the runtime is not known
// each may have it: the ids are random. Containers of a user have theirs in the user's
// directory.
func (h *Host) stateName(r Runtime, id, user string) (name string) {
	home := ""
	if user != "" {
		home = h.homes.of(user)
	}
	if id == "" || user != "" && home == "" {
		return ""
	}
	if r == Docker || r == RuntimeUnknown {
		name = h.docker.name(id, home)
	}
	if name == "" && (r == Podman || r == CRIO || r == RuntimeUnknown) {
		name = h.podman.name(id, home)
	}
	return name
}

// Cgroups yields the id and the path of each cgroup of version 2.
func (h *Host) Cgroups() iter.Seq2[uint64, string] { return h.cgroups.All() }
