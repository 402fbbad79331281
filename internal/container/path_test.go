package container

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Ids and uids of the tests.
var (
	idA = strings.Repeat("a1", 32)
	idB = strings.Repeat("b2", 32)
)

const (
	uid       = "6f3c5b8e-1d2e-4f50-8a9b-0c1d2e3f4a5b"
	uidUnder  = "6f3c5b8e_1d2e_4f50_8a9b_0c1d2e3f4a5b"
	staticUID = "0123456789abcdef0123456789abcdef"
)

// paths are those that runtimes and systemd make, on both versions of cgroups.
var paths = []struct {
	path string
	want Place
}{
	{"/", Place{}},
	{"", Place{}},
	{"/init.scope", Place{Unit: "init.scope", Slice: "-.slice"}},
	{"/system.slice/nginx.service", Place{Unit: "nginx.service", Slice: "system.slice"}},
	{"/system.slice/nginx.service (deleted)", Place{Unit: "nginx.service", Slice: "system.slice"}},
	{"/system.slice/system-getty.slice/getty@tty1.service", Place{Unit: "getty@tty1.service", Slice: "system-getty.slice"}},
	{"/system.slice/_cgroup.service", Place{Unit: "cgroup.service", Slice: "system.slice"}},
	{"/system.slice/ssh.socket", Place{Unit: "ssh.socket", Slice: "system.slice"}},
	{"/system.slice", Place{Slice: "system.slice"}},
	{"/user.slice/user-1000.slice/session-3.scope", Place{Unit: "session-3.scope", Slice: "user-1000.slice"}},
	{"/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service", Place{Unit: "user@1000.service", Slice: "user-1000.slice", UserID: "1000"}},
	{"/process_api/0123456789abcdef0123456789abcdef", Place{}},

	{"/docker/" + idA, Place{Runtime: Docker, ID: idA}},
	{"/docker/" + idA + "/system.slice/nginx.service", Place{Runtime: Docker, ID: idA}},
	{"/system.slice/docker-" + idA + ".scope", Place{Runtime: Docker, ID: idA, Unit: "docker-" + idA + ".scope", Slice: "system.slice"}},
	{"/system.slice/docker.service", Place{Unit: "docker.service", Slice: "system.slice"}},
	{"/system.slice/docker-" + idA[1:] + ".scope", Place{Unit: "docker-" + idA[1:] + ".scope", Slice: "system.slice"}},
	{"/system.slice/docker-" + strings.ToUpper(idA) + ".scope", Place{Unit: "docker-" + strings.ToUpper(idA) + ".scope", Slice: "system.slice"}},
	{"/docker/buildkit/k3x2i1p9v0n8m7b6c5x4z3a2s", Place{}},

	{"/k8s.io/" + idA, Place{Runtime: Containerd, ID: idA}},
	{"/default/" + idA, Place{ID: idA}},
	{"/system.slice/nerdctl-" + idA + ".scope", Place{Runtime: Containerd, ID: idA, Unit: "nerdctl-" + idA + ".scope", Slice: "system.slice"}},

	{"/kubepods/burstable/pod" + uid + "/" + idA, Place{ID: idA, PodUID: uid, PodContainer: idA}},
	{"/kubepods/pod" + uid + "/" + idA, Place{ID: idA, PodUID: uid, PodContainer: idA}},
	{"/kubepods/besteffort/pod" + staticUID + "/" + idA, Place{ID: idA, PodUID: staticUID, PodContainer: idA}},
	{"/kubepods/besteffort/pod" + uid, Place{PodUID: uid}},
	{"/kubepods/burstable/pod" + uid + "/crio-" + idA, Place{Runtime: CRIO, ID: idA, PodUID: uid, PodContainer: idA}},
	{
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidUnder + ".slice/cri-containerd-" + idA + ".scope",
		Place{Runtime: Containerd, ID: idA, PodUID: uid, PodContainer: idA, Unit: "cri-containerd-" + idA + ".scope", Slice: "kubepods-burstable-pod" + uidUnder + ".slice"},
	},
	{
		"/kubepods.slice/kubepods-pod" + uidUnder + ".slice/crio-" + idA + ".scope/container",
		Place{Runtime: CRIO, ID: idA, PodUID: uid, PodContainer: idA, Unit: "crio-" + idA + ".scope", Slice: "kubepods-pod" + uidUnder + ".slice"},
	},
	{
		"/kubepods.slice/kubepods-pod" + uidUnder + ".slice/crio-conmon-" + idA + ".scope",
		Place{PodUID: uid, Unit: "crio-conmon-" + idA + ".scope", Slice: "kubepods-pod" + uidUnder + ".slice"},
	},
	{
		"/kubepods.slice/kubepods-pod" + uidUnder + ".slice/docker-" + idA + ".scope",
		Place{Runtime: Docker, ID: idA, PodUID: uid, PodContainer: idA, Unit: "docker-" + idA + ".scope", Slice: "kubepods-pod" + uidUnder + ".slice"},
	},
	{
		"/system.slice/containerd.service/kubepods-burstable-pod" + uidUnder + ".slice:cri-containerd:" + idA,
		Place{Runtime: Containerd, ID: idA, PodUID: uid, PodContainer: idA, Unit: "containerd.service", Slice: "system.slice"},
	},
	{"/podinfo/pod" + uid + "/x", Place{}},

	{"/machine.slice/libpod-" + idA + ".scope", Place{Runtime: Podman, ID: idA, Unit: "libpod-" + idA + ".scope", Slice: "machine.slice"}},
	{"/machine.slice/libpod-" + idA + ".scope/container", Place{Runtime: Podman, ID: idA, Unit: "libpod-" + idA + ".scope", Slice: "machine.slice"}},
	{"/machine.slice/libpod-conmon-" + idA + ".scope", Place{Unit: "libpod-conmon-" + idA + ".scope", Slice: "machine.slice"}},
	{"/libpod_parent/libpod-" + idA, Place{Runtime: Podman, ID: idA}},
	{"/libpod_parent/conmon", Place{}},
	{"/system.slice/web.service/libpod-payload-" + idA, Place{Runtime: Podman, ID: idA, Unit: "web.service", Slice: "system.slice"}},
	{"/system.slice/web.service/runtime", Place{Unit: "web.service", Slice: "system.slice"}},
	{
		"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope/container",
		Place{Runtime: Podman, ID: idA, UserID: "1000", Unit: "user@1000.service", Slice: "user-1000.slice"},
	},
	{
		"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + idA + ".scope",
		Place{Runtime: Docker, ID: idA, UserID: "1000", Unit: "user@1000.service", Slice: "user-1000.slice"},
	},

	{"/lxc.payload.web", Place{Runtime: LXC, Name: "web"}},
	{"/lxc.payload.web/system.slice/ssh.service", Place{Runtime: LXC, Name: "web"}},
	{"/lxc.payload/web/init.scope", Place{Runtime: LXC, Name: "web"}},
	{"/lxc/101/ns/system.slice", Place{Runtime: LXC, Name: "101"}},
	{"/lxc.monitor.web", Place{}},
	{`/machine.slice/machine-my\x2dweb.scope`, Place{Runtime: Nspawn, Name: "my-web", Unit: `machine-my\x2dweb.scope`, Slice: "machine.slice"}},
	{"/machine.slice/systemd-nspawn@web.service/payload", Place{Runtime: Nspawn, Name: "web", Unit: "systemd-nspawn@web.service", Slice: "machine.slice"}},
	{`/machine.slice/machine-qemu\x2d1\x2dvm.scope`, Place{Unit: `machine-qemu\x2d1\x2dvm.scope`, Slice: "machine.slice"}},

	// Nested: the innermost one.
	{"/docker/" + idA + "/docker/" + idB, Place{Runtime: Docker, ID: idB}},
	{
		"/docker/" + idA + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + uidUnder + ".slice/cri-containerd-" + idB + ".scope",
		Place{Runtime: Containerd, ID: idB, PodUID: uid, PodContainer: idB},
	},
	{"/docker/" + idA + "/kubelet/kubepods/burstable/pod" + uid + "/" + idB, Place{ID: idB, PodUID: uid, PodContainer: idB}},
	{"/kubepods/pod" + uid + "/" + idA + "/docker/" + idB, Place{Runtime: Docker, ID: idB, PodUID: uid, PodContainer: idA}},
	{"/lxc.payload.web/docker/" + idA, Place{Runtime: Docker, ID: idA}},
	{"/machine.slice/libpod-" + idA + ".scope/libpod_parent/libpod-" + idB, Place{Runtime: Podman, ID: idB, Unit: "libpod-" + idA + ".scope", Slice: "machine.slice"}},
	{"/ecs/0123456789abcdef0123456789abcdef/" + idA, Place{ID: idA}},

	// Seen from a cgroup namespace.
	{"/../../system.slice/docker-" + idA + ".scope", Place{Runtime: Docker, ID: idA, Unit: "docker-" + idA + ".scope", Slice: "system.slice"}},
	{"/../nginx.service", Place{Unit: "nginx.service"}},
	{"/../pod" + uid + "/" + idA, Place{ID: idA}},
}

func TestParsePath(t *testing.T) {
	for _, tt := range paths {
		if diff := cmp.Diff(tt.want, ParsePath(tt.path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.path, diff)
		}
	}
}

func TestParseProcess(t *testing.T) {
	inDocker := Place{Runtime: Docker, ID: idA}
	for _, tt := range []struct {
		name, text string
		want       Place
	}{
		{"nothing", "", Place{}},
		{"version 2", "0::/docker/" + idA + "\n", inDocker},
		{"version 1", "11:cpuset:/docker/" + idA + "\n4:memory:/docker/" + idA + "\n1:name=systemd:/docker/" + idA + "\n", inDocker},
		{
			"both, the runtime uses version 1", "12:pids:/docker/" + idA + "\n1:name=systemd:/docker/" + idA + "\n0::/system.slice/containerd.service\n",
			Place{Runtime: Docker, ID: idA, Unit: "containerd.service", Slice: "system.slice"},
		},
		{
			"both, a service", "4:memory:/system.slice/nginx.service\n1:name=systemd:/system.slice/nginx.service\n0::/\n",
			Place{Unit: "nginx.service", Slice: "system.slice"},
		},
		{
			"podman of a user, version 1", "4:memory:/user.slice\n1:name=systemd:/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope\n",
			Place{Runtime: Podman, ID: idA, UserID: "1000", Unit: "user@1000.service", Slice: "user-1000.slice"},
		},
		{
			"a pod, version 1", "7:cpu,cpuacct:/kubepods/burstable/pod" + uid + "/" + idA + "\n3:name=systemd:/\n",
			Place{ID: idA, PodUID: uid, PodContainer: idA},
		},
		{
			"colons in the path", "9:cpuset:/kubepods-besteffort-pod" + uidUnder + ".slice:cri-containerd:" + idA + "\n",
			Place{Runtime: Containerd, ID: idA, PodUID: uid, PodContainer: idA},
		},
		{"a zombie", "0::/docker/" + idA + " (deleted)\n", inDocker},
		{"lines that are none", "x\n0::\n0:/a\n::\n", Place{}},
	} {
		if diff := cmp.Diff(tt.want, ParseProcess(tt.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, tt := range paths {
		f.Add(tt.path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		for _, p := range []Place{ParsePath(path), ParseProcess("0::" + path)} {
			if p.ID != "" && !isID(p.ID) || p.PodContainer != "" && !isID(p.PodContainer) || p.PodUID != "" && !isUID(p.PodUID) {
				t.Errorf("%q: %+v", path, p)
			}
			if p.ID != "" && p.Name != "" || p.PodContainer != "" && p.PodUID == "" {
				t.Errorf("%q: %+v", path, p)
			}
			if strings.Contains(p.Name+p.Unit+p.Slice, "/") && !strings.Contains(path, `\x2f`) {
				t.Errorf("%q: a / in %+v", path, p)
			}
		}
	})
}
