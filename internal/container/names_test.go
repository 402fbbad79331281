package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/clock"
	"github.com/nettrace/nettrace/snapshot"
)

// write makes a file of a host.
func write(t testing.TB, root, path, text string) {
	t.Helper()
	name := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// dockerState is what moby writes, with the members whose names are also those of others.
const dockerState = `{"StreamConfig":{},"State":{"Running":true,"Name":"no"},"ID":"x","Args":["Name",{"Name":"\"}"}],` +
	`"Config":{"Hostname":"h","Labels":{"Name":"label"}},"LogPath":"","Name":"/web_1","Driver":"overlay2","Path":"\"Name\":\"/x\""}`

func host(t testing.TB) (*Host, string) {
	t.Helper()
	root := t.TempDir()
	write(t, root, "var/lib/docker/containers/"+idA+"/config.v2.json", dockerState)
	write(t, root, "var/lib/containers/storage/overlay-containers/containers.json",
		`[{"id":"`+strings.Repeat("c3", 32)+`","names":["db"],"image":"i","metadata":"{\"name\":\"no\"}","created":"2026-01-01T00:00:00Z"},`+
			` {"id":"`+idB+`","names":["k8s_side_api-0_shop_`+uid+`_1","other"]}, {"id":"nameless"}]`)
	write(t, root, "var/lib/containers/storage/vfs-containers/volatile-containers.json", `[{"id":"`+strings.Repeat("d4", 32)+`","names":["rm"]}]`)
	write(t, root, "etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\nbad line\n")
	write(t, root, "home/ann/.local/share/containers/storage/overlay-containers/containers.json", `[{"id":"`+idA+`","names":["anns"]}]`)
	write(t, root, "home/ann/.local/share/docker/containers/"+idB+"/config.v2.json", `{"Name":"/annsdocker"}`)
	write(t, root, "var/log/containers/web-0_shop_app-"+strings.Repeat("e5", 32)+".log", "")
	write(t, root, "var/log/containers/too_many_parts_x-"+idB+".log", "")
	write(t, root, "var/log/pods/shop_web-0_"+uid+"/app/0.log", "")
	write(t, root, "var/log/pods/kube-system_etcd-node1_"+staticUID+"/etcd/0.log", "")
	return NewHost(filepath.Join(root, "proc"), root, ""), root
}

func TestNames(t *testing.T) {
	h, _ := host(t)
	inLogs, podman, removed := strings.Repeat("e5", 32), strings.Repeat("c3", 32), strings.Repeat("d4", 32)
	pod := func(name string) string {
		return "/kubepods/burstable/pod" + uid + "/" + name
	}
	for _, tt := range []struct {
		path  string
		want  snapshot.Workload
		whole bool
	}{
		{"/docker/" + idA, snapshot.Workload{ContainerID: idA, ContainerName: "web_1"}, true},
		{"/docker/" + idB, snapshot.Workload{ContainerID: idB}, false},
		{"/docker/" + podman, snapshot.Workload{ContainerID: podman}, false},
		{"/machine.slice/libpod-" + podman + ".scope", snapshot.Workload{ContainerID: podman, ContainerName: "db", Unit: "libpod-" + podman + ".scope", Slice: "machine.slice"}, true},
		{"/libpod_parent/libpod-" + removed, snapshot.Workload{ContainerID: removed, ContainerName: "rm"}, true},
		{
			"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope",
			snapshot.Workload{ContainerID: idA, ContainerName: "anns", Unit: "user@1000.service", Slice: "user-1000.slice"},
			true,
		},
		{
			"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + idB + ".scope",
			snapshot.Workload{ContainerID: idB, ContainerName: "annsdocker", Unit: "user@1000.service", Slice: "user-1000.slice"},
			true,
		},
		{
			"/user.slice/user-1001.slice/user@1001.service/user.slice/libpod-" + podman + ".scope",
			snapshot.Workload{ContainerID: podman, Unit: "user@1001.service", Slice: "user-1001.slice"},
			false,
		},
		{
			pod(inLogs),
			snapshot.Workload{ContainerID: inLogs, ContainerName: "app", Pod: "web-0", Namespace: "shop", PodContainer: "app", PodUID: uid},
			true,
		},
		{ // CRI-O says it in the name
			pod("crio-" + idB),
			snapshot.Workload{ContainerID: idB, ContainerName: "side", Pod: "api-0", Namespace: "shop", PodContainer: "side", PodUID: uid},
			true,
		},
		{ // the container that holds the namespaces of the pod
			pod(podman), snapshot.Workload{ContainerID: podman, Pod: "web-0", Namespace: "shop", PodUID: uid}, false,
		},
		{
			"/kubepods/pod" + staticUID + "/" + removed,
			snapshot.Workload{ContainerID: removed, Pod: "etcd-node1", Namespace: "kube-system", PodUID: staticUID},
			false,
		},
		{ // Docker in a pod
			pod(inLogs) + "/docker/" + idA,
			snapshot.Workload{ContainerID: idA, ContainerName: "web_1", Pod: "web-0", Namespace: "shop", PodContainer: "app", PodUID: uid},
			true,
		},
		{"/lxc.payload.box", snapshot.Workload{ContainerName: "box"}, true},
		{"/system.slice/nginx.service", snapshot.Workload{Unit: "nginx.service", Slice: "system.slice"}, true},
	} {
		found := h.Named(ParsePath(tt.path))
		if found.Workload == nil {
			t.Errorf("%s: nothing", tt.path)
			continue
		}
		if diff := cmp.Diff(tt.want, *found.Workload); diff != "" || found.Whole != tt.whole {
			t.Errorf("%s: whole %v (-want +got):\n%s", tt.path, found.Whole, diff)
		}
	}
	if found := h.Named(ParsePath("/")); found.Workload != nil || !found.Whole {
		t.Errorf("/: %+v", found)
	}
}

// TestNamesChange renames a container and makes others: what is kept of the files must
// not show.
func TestNamesChange(t *testing.T) {
	h, root := host(t)
	name := func(path string) string { return h.Named(ParsePath(path)).Workload.ContainerName }
	if got := name("/docker/" + idA); got != "web_1" {
		t.Fatalf("first: %q", got)
	}
	write(t, root, "var/lib/docker/containers/"+idA+"/config.v2.json", `{"Name":"/new"}`)
	if got := name("/docker/" + idA); got != "new" {
		t.Errorf("renamed: %q", got)
	}
	late := strings.Repeat("f6", 32)
	if got := name("/kubepods/pod" + uid + "/" + late); got != "" {
		t.Errorf("not there yet: %q", got)
	}
	write(t, root, "var/log/containers/web-0_shop_late-"+late+".log", "")
	if got := name("/kubepods/pod" + uid + "/" + late); got != "late" {
		t.Errorf("there now: %q", got)
	}
	if err := os.RemoveAll(filepath.Join(root, "var/log/containers")); err != nil {
		t.Fatal(err)
	}
	if got := name("/kubepods/pod" + uid + "/" + late); got != "" {
		t.Errorf("removed: %q", got)
	}
}

// TestStateOfUsers reads what a user may put in place of a file: it must not wait, follow,
// or read without end.
func TestStateOfUsers(t *testing.T) {
	dir := t.TempDir()
	pipe, link, large, fine := filepath.Join(dir, "pipe"), filepath.Join(dir, "link"), filepath.Join(dir, "large"), filepath.Join(dir, "fine")
	write(t, dir, "fine", "x")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fine, link); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "large", "")
	if err := os.Truncate(large, fileMost+1); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, link, large, dir, filepath.Join(dir, "none")} {
		if text, err := readState(path); err == nil {
			t.Errorf("%s: %q", path, text)
		}
	}
	if text, err := readState(fine); err != nil || string(text) != "x" {
		t.Errorf("a file: %q, %v", text, err)
	}
}

func TestProcess(t *testing.T) {
	h, root := host(t)
	write(t, root, "proc/7/cgroup", "4:memory:/docker/"+idA+"\n0::/\n")
	if w := h.Process(7).Workload; w == nil || w.ContainerName != "web_1" {
		t.Errorf("process 7: %+v", w)
	}
	if f := h.Process(8); f.Workload != nil || f.Whole {
		t.Errorf("process 8: %+v", f)
	}
}

// TestOwner asks for this process, and for those that it is not.
func TestOwner(t *testing.T) {
	h := NewHost("", t.TempDir(), "")
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	me := snapshot.Process{PID: os.Getpid(), Comm: strings.TrimSpace(string(comm))}
	now := clock.Now()
	if f := h.Owner(&me, now); !f.Whole && f.Workload == nil {
		t.Errorf("this process: %+v", f)
	}
	if f := h.Owner(&me, now-uint64(time.Hour)); f.Whole || f.Workload != nil {
		t.Errorf("an hour before it began: %+v", f)
	}
	other := me
	other.Comm = "another"
	if f := h.Owner(&other, now); f.Whole || f.Workload != nil {
		t.Errorf("another name: %+v", f)
	}
	other = me
	other.PID = 1 << 30
	if f := h.Owner(&other, now); f.Whole || f.Workload != nil {
		t.Errorf("no such process: %+v", f)
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 1 1"
	for _, tt := range []struct {
		text, name string
		began      uint64
		ok         bool
	}{
		{"5 (nginx)" + rest, "nginx", 777, true},
		{"5 (a) (b))" + rest, "a) (b)", 777, true},
		{"5 (x) S 1", "", 0, false},
		{"", "", 0, false},
		{")(", "", 0, false},
	} {
		if name, began, ok := parseStat(tt.text); name != tt.name || began != tt.began || ok != tt.ok {
			t.Errorf("%q: %q, %d, %v", tt.text, name, began, ok)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("5 (nginx) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 1 1")
	f.Fuzz(func(t *testing.T, text string) {
		if name, _, ok := parseStat(text); ok && !strings.Contains(text, "("+name+")") {
			t.Errorf("%q has no %q", text, name)
		}
	})
}

func TestJSON(t *testing.T) {
	for _, tt := range []struct{ text, key, want string }{
		{`{"a":1,"b":"x"}`, "b", `"x"`},
		{` { "a" : [1, {"b":2}] , "b" : {"c":[]} } `, "b", `{"c":[]}`},
		{`{"a\"b":"x","b":"y"}`, "b", `"y"`},
		{`{"b":1`, "b", `1`},
		{`{"a":"b"`, "b", ``},
		{`{"a":}`, "b", ``},
		{`["b"]`, "b", ``},
		{``, "b", ``},
		{`{"a":"\\","b":null}`, "b", `null`},
		{`{` + strings.Repeat(`"a":[`, 1), "b", ``},
		{`{"a":` + strings.Repeat(`[`, 1000) + strings.Repeat(`]`, 1000) + `,"b":1}`, "b", ``},
	} {
		if got := string(member([]byte(tt.text), tt.key)); got != tt.want {
			t.Errorf("%s of %.80s: %q, want %q", tt.key, tt.text, got, tt.want)
		}
	}
	var all []string
	items([]byte(` [ "a" , {"b":1},[2] ,3] `), func(item []byte) { all = append(all, string(item)) })
	if got := strings.Join(all, "|"); got != `"a"|{"b":1}|[2]|3` {
		t.Errorf("items: %s", got)
	}
	for value, want := range map[string]string{`"web"`: "web", `"we\u0062"`: "", `web`: "", `"web" x`: "", ``: ""} {
		if got := text([]byte(value)); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// FuzzJSON compares with encoding/json what is well-formed.
func FuzzJSON(f *testing.F) {
	f.Add(dockerState)
	f.Add(`[{"id":"x","names":["a"]}]`)
	f.Add(`{"Name":"a","Name":"b"}`)
	f.Fuzz(func(t *testing.T, state string) { compareJSON(t, state) })
}

func TestEventsOfInotify(t *testing.T) {
	event := func(wd int32, mask uint32, name string) []byte {
		size := (len(name)/16 + 1) * 16
		b := make([]byte, unix.SizeofInotifyEvent+size)
		*(*unix.InotifyEvent)(ptr(b)) = unix.InotifyEvent{Wd: wd, Mask: mask, Len: uint32(size)}
		copy(b[unix.SizeofInotifyEvent:], name)
		return b
	}
	buf := append(event(3, unix.IN_CREATE|unix.IN_ISDIR, "docker-x.scope"), event(4, unix.IN_CREATE, "a file")...)
	buf = append(append(buf, event(5, unix.IN_IGNORED, "")...), event(-1, unix.IN_Q_OVERFLOW, "")...)
	want := []created{{dir: 3, name: "docker-x.scope"}, {dir: 5, gone: true}, {dir: -1, lost: true}}
	if diff := cmp.Diff(want, parseEvents(buf), cmp.AllowUnexported(created{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for n := range buf {
		parseEvents(buf[:n]) // no panic
	}
}
