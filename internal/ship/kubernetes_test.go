package ship

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/nettrace/nettrace/internal/load"
)

// manifest is what the tests look at of an object of deploy/kubernetes.
type manifest struct {
	Kind string
	Data map[string]string
	Spec struct {
		Template struct {
			Spec podSpec
		}
	}
}

type podSpec struct {
	HostNetwork      bool `yaml:"hostNetwork"`
	HostPID          bool `yaml:"hostPID"`
	HostIPC          bool `yaml:"hostIPC"`
	AutomountAccount bool `yaml:"automountServiceAccountToken"`
	SecurityContext  struct {
		Seccomp struct{ Type string } `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers []container
	Volumes    []volume
}

type volume struct {
	Name     string
	HostPath struct{ Path string } `yaml:"hostPath"`
}

type container struct {
	Args            []string
	SecurityContext struct {
		Privileged   bool
		Escalation   *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnly     bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities struct{ Drop, Add []string }
	} `yaml:"securityContext"`
	Resources struct{ Requests, Limits map[string]string }
	Liveness  probeSpec `yaml:"livenessProbe"`
	Readiness probeSpec `yaml:"readinessProbe"`
	Mounts    []struct {
		Name, MountPath string
		ReadOnly        bool `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probeSpec struct {
	HTTPGet struct {
		Host, Path string
		Port       int
	} `yaml:"httpGet"`
	TimeoutSeconds int `yaml:"timeoutSeconds"`
}

// readManifests returns the objects by their kind.
func readManifests(t *testing.T) map[string]manifest {
	t.Helper()
	objects := make(map[string]manifest)
	d := yaml.NewDecoder(strings.NewReader(readFile(t, filepath.Join(root, "deploy/kubernetes/nettrace.yaml"))))
	for {
		var m manifest
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		objects[m.Kind] = m
	}
}

// TestDaemonSetAsksForLittle holds what a cluster's owner wants of it.
func TestDaemonSetAsksForLittle(t *testing.T) {
	pod := readManifests(t)["DaemonSet"].Spec.Template.Spec
	if !pod.HostNetwork || pod.HostPID || pod.HostIPC || pod.AutomountAccount || pod.SecurityContext.Seccomp.Type != "RuntimeDefault" {
		t.Errorf("the pod has the network of the host and nothing else of it, and the runtime's seccomp profile: %+v", pod)
	}
	if len(pod.Containers) != 1 {
		t.Fatalf("%d containers", len(pod.Containers))
	}
	c := pod.Containers[0]
	s := c.SecurityContext
	if s.Privileged || s.Escalation == nil || *s.Escalation || !s.ReadOnly ||
		!slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || !slices.Equal(s.Capabilities.Add, []string{"BPF", "PERFMON"}) {
		t.Errorf("the container's security context is %+v", s)
	}
	if c.Resources.Requests["cpu"] == "" || c.Resources.Requests["memory"] == "" || c.Resources.Limits["memory"] == "" {
		t.Errorf("its resources are %+v", c.Resources)
	}
	for _, p := range []probeSpec{c.Liveness, c.Readiness} {
		if p.HTTPGet.Host != "127.0.0.1" || p.TimeoutSeconds < 3 {
			t.Errorf("a probe is %+v: /healthz takes up to 2 s, and the port is on loopback", p)
		}
	}
	mounted := map[string]bool{}
	for _, m := range c.Mounts {
		mounted[m.MountPath] = true
		if !m.ReadOnly && m.Name != "records" {
			t.Errorf("%s can be written to", m.MountPath)
		}
	}
	for _, path := range []string{"/sys/fs/cgroup", "/var/log/containers"} { // docs/containers.md
		if !mounted[path] {
			t.Errorf("%s is not mounted: containers would not be known", path)
		}
	}
	if mounted["/var/log"] || mounted["/var/log/pods"] {
		t.Error("the logs of all pods are mounted: the names of the links are enough")
	}
}

var variable = regexp.MustCompile(`\$\(([A-Z_]+)\)`)

// TestDaemonSetRuns runs the command of the DaemonSet as the kubelet would, with just its
// capabilities, and asks its probes, and the metrics that dashboard and alerts ask for.
func TestDaemonSetRuns(t *testing.T) {
	objects := readManifests(t)
	c := objects["DaemonSet"].Spec.Template.Spec.Containers[0]
	netns := newNetns(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "nettrace.ndjson")
	var args []string
	for _, arg := range c.Args {
		arg = variable.ReplaceAllStringFunc(arg, func(v string) string {
			value, ok := objects["ConfigMap"].Data[variable.FindStringSubmatch(v)[1]]
			if !ok {
				t.Errorf("%s is not in the ConfigMap", v)
			}
			return value
		})
		args = append(args, strings.ReplaceAll(arg, "/var/log/nettrace", dir))
	}
	tr := &tracing{t: t, netns: netns, cmd: asContainer(t, c, args)}
	tr.begin(file)
	for _, p := range []probeSpec{c.Liveness, c.Readiness} {
		if status, body := get(t, netns, p); status != http.StatusOK {
			t.Errorf("%s answers %d: %.300s", p.HTTPGet.Path, status, body)
		}
	}
	_, metrics := get(t, netns, c.Liveness)
	for _, name := range asked(t) {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("there is no metric %s", name)
		}
	}
	tr.connect(100, load.RST)
	quiet(t, file)
	tr.stop()
	w := readWritten(t, file)
	if got := w.count("tcp_close"); got < 200 || w.count("tcp_state") > 0 {
		t.Errorf("%d closes and %d transitions, want 200 and none", got, w.count("tcp_state"))
	}
}

// asContainer returns the command with the capabilities of a container and no others.
func asContainer(t *testing.T, c container, args []string) *exec.Cmd {
	t.Helper()
	setpriv := lookPath(t, "setpriv")
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	set := "-all"
	for _, name := range c.SecurityContext.Capabilities.Add {
		set += ",+" + strings.ToLower(name)
	}
	cmd := exec.Command(setpriv, append([]string{
		"--bounding-set", set, "--inh-caps", "-all", "--no-new-privs", filepath.Join(dir, "nettrace"),
	}, args...)...)
	cmd.Env = append(os.Environ(), "NODE_NAME=node-1")
	return cmd
}

// get asks a probe's path in a namespace.
func get(t *testing.T, netns string, p probeSpec) (status int, body string) {
	t.Helper()
	curl := lookPath(t, "curl")
	var out []byte
	var err error
	inNetns(t, netns, func() {
		out, err = exec.Command(curl, "-s", "--max-time", "20", "-w", "\n%{http_code}",
			"http://"+p.HTTPGet.Host+":"+strconv.Itoa(p.HTTPGet.Port)+p.HTTPGet.Path).Output()
	})
	if err != nil {
		t.Fatalf("%s: %v", p.HTTPGet.Path, err)
	}
	i := bytes.LastIndexByte(out, '\n')
	return int(integer(t, string(out[i+1:]))), "\n" + string(out[:i])
}
