package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const askVar = "NETTRACE_TEST_CGROUP" // the id that a process in a namespace looks for

func TestMain(m *testing.M) {
	if id, err := strconv.ParseUint(os.Getenv(askVar), 10, 64); err == nil {
		tree := new(Tree)
		path, ok := tree.Path(id)
		fmt.Println(tree.Mount(), path, ok)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestNamespace looks for a cgroup from a cgroup namespace that does not have it, as a
// container has one: the mount of the host is used and not that of the container.
func TestNamespace(t *testing.T) {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("needs unshare(1): ", err)
	}
	root := kernelDir(t)
	if root == "" {
		t.Skip("needs to make cgroups")
	}
	for _, name := range []string{"own", "other"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(filepath.Join(root, name)) })
	}
	id, ok := idOf(filepath.Join(root, "other"))
	if !ok {
		t.Fatal("no id")
	}
	script := fmt.Sprintf(`echo $$ > %s/own/cgroup.procs && exec %s -Cm sh -c 'mount -t cgroup2 none "$0" && exec "$1"' "$0" "$1"`, root, unshare)
	cmd := exec.Command("sh", "-c", script, t.TempDir(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", askVar, id))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mount := new(Tree).Mount()
	want := fmt.Sprintln(mount, strings.TrimPrefix(root, mount)+"/other", true)
	if string(out) != want {
		t.Errorf("from the namespace it is %q, want %q", out, want)
	}
}
