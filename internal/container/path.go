package container

import (
	"strings"

	"github.com/nettrace/nettrace/snapshot"
)

// Runtime is what runs a container, as far as the path of its cgroup tells.
type Runtime uint8

// The runtimes. It is unknown where only an id stands, as the kubelet's cgroupfs driver
// has it.
const (
	RuntimeUnknown Runtime = iota
	Docker
	Containerd
	CRIO
	Podman
	LXC
	Nspawn
)

// Place is what the path of a cgroup says. What it does not say is empty.
type Place struct {
	Runtime      Runtime
	ID           string // of the innermost container
	Name         string // likewise, where the path has a name and no id
	PodUID       string // of the innermost pod of Kubernetes
	PodContainer string // the container of that pod that the process is in, or nested in
	UserID       string // the user whose service manager runs it; empty: the system's
	Unit         string // of the system's service manager
	Slice        string // likewise
}

// Contained reports whether it is in a container or a pod.
func (p *Place) Contained() bool { return p.ID != "" || p.Name != "" || p.PodUID != "" }

// ParsePath reads the path of a cgroup. These are known, each with where it is made:
//
//	/docker/ID                            dockerd, cgroupfs (daemon/oci_linux.go, moby)
//	/system.slice/docker-ID.scope         dockerd, systemd (getUnitName, opencontainers/cgroups, systemd/v2.go)
//	/NAMESPACE/ID, /k8s.io/ID             containerd (oci.WithNamespacedCgroup)
//	…/cri-containerd-ID.scope             containerd's CRI, systemd (internal/cri/server: getCgroupsPath)
//	…/podUID.slice:cri-containerd:ID      the same where runc's driver is not systemd
//	…/nerdctl-ID.scope                    nerdctl, systemd
//	…/crio-ID.scope, /crio-ID             CRI-O (internal/config/cgmgr, cri-o)
//	…/crio-conmon-ID.scope                its monitor: no container
//	…/libpod-ID.scope, /libpod_parent/libpod-ID   podman (libpod/container_internal_linux.go)
//	…/UNIT.service/libpod-payload-ID      podman --cgroups=split, as of Quadlet
//	…/libpod-conmon-ID.scope, /libpod_parent/conmon, …/runtime   its monitor: no container
//	/kubepods[/burstable|/besteffort]/podUID/ID   kubelet, cgroupfs (pkg/kubelet/cm/pod_container_manager_linux.go)
//	/kubepods.slice/…/kubepods-burstable-podUID.slice/…   kubelet, systemd: - of the uid is _ (ToSystemd, cgroup_manager_linux.go)
//	/lxc.payload.NAME, /lxc.payload/NAME, /lxc/NAME   LXC, Incus, Proxmox (src/lxc/cgroups/cgfsng.c)
//	/machine.slice/machine-NAME.scope     systemd-machined (src/machine/machine.c); machine-qemu… is libvirt's and no container
//	/machine.slice/systemd-nspawn@NAME.service   systemd-nspawn as a service
//
// An ID has 64 hexadecimal digits; one that stands alone is taken for a container's
// wherever it stands. Nested ones are told as the innermost: a pod in a node of kind is
// in the container of the node, and the pod's is what counts.
//
// Unit and slice are those that systemd finds (cg_path_get_unit and cg_path_get_slice,
// src/basic/cgroup-util.c), which the journal has as _SYSTEMD_UNIT and _SYSTEMD_SLICE: the
// host's, and of a user's service its user@UID.service.
func ParsePath(path string) Place {
	w := walker{atTop: true}
	for part := range strings.SplitSeq(strings.TrimSuffix(path, " (deleted)"), "/") {
		switch part {
		case "":
		case "..": // what is above the cgroup namespace does not show
			w.cut = true
		default:
			w.step(part)
			w.parent = part
		}
	}
	if w.Unit != "" && w.Slice == "" && !w.cut {
		w.Slice = "-.slice" // the root
	}
	return w.Place
}

// walker goes down a path.
type walker struct {
	Place
	parent string // the directory above
	atTop  bool   // only slices so far: a unit may follow
	cut    bool   // directories are missing above
	kube   bool   // below the cgroup of the kubelet
}

func (w *walker) step(part string) {
	slice, prefix, name := cutTriple(part)
	w.unit(part)
	w.pod(slice)
	if prefix != "" {
		w.contained(runtimeOf(prefix+"-"), name)
		return
	}
	if runtime, id := scopeID(part); id != "" {
		w.contained(runtime, id)
		return
	}
	if isID(part) {
		runtime := RuntimeUnknown
		switch w.parent {
		case "docker":
			runtime = Docker
		case "k8s.io":
			runtime = Containerd
		}
		w.contained(runtime, part)
		return
	}
	if runtime, name := w.named(part); name != "" {
		w.Runtime, w.ID, w.Name = runtime, "", name
	}
}

// contained notes a container, the innermost so far. The first one below a pod is the
// pod's own.
func (w *walker) contained(runtime Runtime, id string) {
	if !isID(id) {
		return
	}
	w.Runtime, w.ID, w.Name = runtime, id, ""
	if w.PodUID != "" && w.PodContainer == "" {
		w.PodContainer = id
	}
}

// cutTriple cuts SLICE:PREFIX:NAME, the form that runc takes with its systemd driver, and
// that is a directory where the driver is another.
func cutTriple(part string) (slice, prefix, name string) {
	slice, rest, _ := strings.Cut(part, ":")
	prefix, name, _ = strings.Cut(rest, ":")
	return slice, prefix, name
}

// prefixes are what stands before an id.
var prefixes = []struct {
	text    string
	runtime Runtime
}{
	{"docker-", Docker},
	{"cri-containerd-", Containerd},
	{"nerdctl-", Containerd},
	{"crio-", CRIO},
	{"libpod-payload-", Podman},
	{"libpod-", Podman},
}

func runtimeOf(prefix string) Runtime {
	for _, p := range prefixes {
		if p.text == prefix {
			return p.runtime
		}
	}
	return RuntimeUnknown
}

// scopeID returns the id in the name of a container's directory. That of a monitor has
// more between the prefix and the id.
func scopeID(part string) (Runtime, string) {
	part = strings.TrimSuffix(part, ".scope")
	for _, p := range prefixes {
		if id, ok := strings.CutPrefix(part, p.text); ok && isID(id) {
			return p.runtime, id
		}
	}
	return RuntimeUnknown, ""
}

const idDigits = 64

func isID(text string) bool {
	return len(text) == idDigits && strings.Trim(text, "0123456789abcdef") == ""
}

// pod notes the pod that a directory is of.
func (w *walker) pod(part string) {
	w.kube = w.kube || strings.Contains(part, "kubepods")
	if !w.kube {
		return
	}
	name, isSlice := strings.CutSuffix(part, ".slice")
	if isSlice {
		at := strings.LastIndex(name, "-pod")
		if at < 0 {
			return
		}
		name = strings.ReplaceAll(name[at+1:], "_", "-")
	}
	if uid, ok := strings.CutPrefix(name, "pod"); ok && isUID(uid) {
		w.PodUID, w.PodContainer = uid, ""
	}
}

// isUID reports whether a text is the uid of a pod: a UUID, or of a static pod the hash
// of its manifest (pkg/kubelet/config/common.go).
func isUID(text string) bool {
	const uuid, hash = 36, 32
	return (len(text) == uuid || len(text) == hash) && strings.Trim(text, "0123456789abcdef-") == ""
}

// named returns the name of a container whose directory has one instead of an id.
func (w *walker) named(part string) (Runtime, string) {
	if name, ok := strings.CutPrefix(part, "lxc.payload."); ok {
		return LXC, name
	}
	if w.parent == "lxc.payload" || w.parent == "lxc" {
		return LXC, part
	}
	if w.parent != "machine.slice" {
		return RuntimeUnknown, ""
	}
	if name, ok := between(part, "systemd-nspawn@", ".service"); ok {
		return Nspawn, unescape(name)
	}
	name, ok := between(part, "machine-", ".scope")
	if name = unescape(name); !ok || strings.HasPrefix(name, "qemu-") {
		return RuntimeUnknown, ""
	}
	return Nspawn, name
}

func between(text, before, after string) (string, bool) {
	text, starts := strings.CutPrefix(text, before)
	text, ends := strings.CutSuffix(text, after)
	if !starts || !ends {
		return "", false
	}
	return text, true
}

// unescape decodes the \xNN of systemd's names (unit_name_escape, src/basic/unit-name.c).
func unescape(name string) string {
	if !strings.Contains(name, `\x`) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if len(name)-i >= 4 && name[i] == '\\' && name[i+1] == 'x' {
			high, low := hexDigit(name[i+2]), hexDigit(name[i+3])
			if high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low))
				i += 3
				continue
			}
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

func hexDigit(c byte) int { return strings.IndexByte("0123456789abcdef", c) }

// unitSuffixes are the types of units that have processes.
var unitSuffixes = []string{".service", ".scope", ".socket", ".mount", ".swap"}

// unit notes the slices at the top of a path, and the unit right below them.
func (w *walker) unit(part string) {
	if !w.atTop {
		return
	}
	// systemd writes a _ before names that the kernel may want for itself (cg_escape).
	name := strings.TrimPrefix(part, "_")
	if _, ok := strings.CutSuffix(name, ".slice"); ok {
		w.Slice = name
		return
	}
	w.atTop = false
	for _, suffix := range unitSuffixes {
		if base, ok := strings.CutSuffix(name, suffix); ok && base != "" {
			w.Unit = name
			w.UserID, _ = between(name, "user@", ".service")
			return
		}
	}
}

// workload returns what a path says, without the names that it does not have.
func (p *Place) workload() snapshot.Workload {
	return snapshot.Workload{ContainerID: p.ID, ContainerName: p.Name, PodUID: p.PodUID, Unit: p.Unit, Slice: p.Slice}
}
