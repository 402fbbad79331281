package packages

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// chroot is a Debian system in a directory.
type chroot struct {
	t   *testing.T
	dir string
}

// newChroot makes the smallest Debian system of this machine's release. The first time
// it is fetched, which takes half a minute; it is kept beside the tools of make.
func newChroot(t *testing.T) *chroot {
	t.Helper()
	need(t, "debootstrap", "apt-get", "tar", "unshare")
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	release := strings.TrimSpace(command(t, "sh", "-c", `. /etc/os-release && echo "$VERSION_CODENAME"`))
	archive, err := filepath.Abs("../../.cache/debian-" + release + ".tar")
	if err != nil {
		t.Fatal(err)
	}
	c := &chroot{t, t.TempDir()}
	if _, err := os.Stat(archive); err != nil {
		mirror, _, _ := strings.Cut(command(t, "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Codename: "+release), "\n")
		command(t, "debootstrap", "--variant=minbase", release, c.dir, mirror)
		command(t, "tar", "-C", c.dir, "--exclude=./proc/*", "--exclude=./sys/*", "-cf", archive+".new", ".")
		if err := os.Rename(archive+".new", archive); err != nil {
			t.Fatal(err)
		}
		return c
	}
	command(t, "tar", "-C", c.dir, "-xf", archive)
	return c
}

// run runs a command in the system, which must succeed.
func (c *chroot) run(args ...string) string {
	c.t.Helper()
	const script = `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`
	return command(c.t, "unshare", append([]string{"--mount", "--pid", "--fork", "sh", "-c", script, c.dir}, args...)...)
}

// install puts a package into the system.
func (c *chroot) install(deb string) {
	c.t.Helper()
	text, err := os.ReadFile(deb)
	if err == nil {
		err = os.WriteFile(c.dir+"/new.deb", text, 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.run("dpkg", "-i", "/new.deb")
	if err := os.Remove(c.dir + "/new.deb"); err != nil {
		c.t.Error(err)
	}
}

// files lists what is in the system, but for what dpkg writes of its own work.
func (c *chroot) files() []string {
	c.t.Helper()
	var list []string
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, c.dir)
		switch {
		case err != nil:
			return err
		case name == "/proc" || name == "/var/lib/dpkg":
			return fs.SkipDir
		case !strings.HasPrefix(name, "/var/log/dpkg.log"):
			list = append(list, name)
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

func (c *chroot) has(path string) bool {
	_, err := os.Lstat(c.dir + path)
	return err == nil
}

// testChroot installs an older package, upgrades it to deb, removes and purges it.
func testChroot(t *testing.T, deb string) {
	c := newChroot(t)
	before := c.files()
	older, _ := built(t, "v1.2.2")
	c.install(older)
	c.checkRuns("v1.2.2")
	if damaged := c.run("dpkg", "--verify", "nettrace"); damaged != "" {
		t.Errorf("files are not as in the package: %s", damaged)
	}
	if enabled, _ := filepath.Glob(c.dir + "/etc/systemd/system/*/nettrace.service"); len(enabled) > 0 {
		t.Errorf("the service is enabled: %q", enabled)
	}

	const config = "/etc/logrotate.d/nettrace"
	if err := os.WriteFile(c.dir+config, []byte("# mine\n"), 0o644); err != nil { //nolint:gosec // as the package has it
		t.Fatal(err)
	}
	called := c.recordSystemd()
	c.install(deb)
	c.checkRuns("v1.2.3-4-gabcdef")
	called("daemon-reload", "try-restart nettrace.service")
	if text, err := os.ReadFile(c.dir + config); err != nil || string(text) != "# mine\n" {
		t.Errorf("the upgrade changed a file of the configuration: %q, %v", text, err)
	}

	// What the service leaves behind, and what enables it.
	c.run("sh", "-c", `mkdir -p /var/log/private/nettrace /etc/systemd/system/multi-user.target.wants
		touch /var/log/private/nettrace/nettrace.ndjson && ln -s private/nettrace /var/log/nettrace
		ln -s /usr/lib/systemd/system/nettrace.service /etc/systemd/system/multi-user.target.wants/`)
	c.run("dpkg", "--remove", "nettrace")
	called("stop nettrace.service", "daemon-reload")
	if c.has("/usr/bin/nettrace") || !c.has(config) || !c.has("/var/log/nettrace") {
		t.Error("a removal takes the program and keeps configuration and records")
	}
	c.run("dpkg", "--purge", "nettrace")
	called("daemon-reload")
	c.run("rm", "-r", "/run/systemd", "/run/calls", "/usr/bin/systemctl")
	c.run("sh", "-c", "rmdir --ignore-fail-on-non-empty -p /var/log/private /etc/systemd/system/multi-user.target.wants 2>/dev/null; true")
	if diff := cmp.Diff(before, c.files()); diff != "" {
		t.Errorf("after the purge (-before +now):\n%s", diff)
	}
}

// recordSystemd has the system look as if systemd ran it. What is returned checks that
// systemctl was called with words since the last time, and that nothing was enabled or
// started.
func (c *chroot) recordSystemd() (called func(words ...string)) {
	c.t.Helper()
	c.run("sh", "-c", `mkdir -p /run/systemd/system && printf '#!/bin/sh\necho "$*" >>/run/calls\n' >/usr/bin/systemctl && chmod +x /usr/bin/systemctl`)
	return func(words ...string) {
		c.t.Helper()
		calls := c.run("sh", "-c", "cat /run/calls; : >/run/calls")
		for _, word := range words {
			if !strings.Contains(calls, word) {
				c.t.Errorf("systemctl is not called with %q, but with\n%s", word, calls)
			}
		}
		if strings.Contains(calls, "enable ") || strings.Contains(calls, " start ") {
			c.t.Errorf("systemctl is called with\n%s", calls)
		}
	}
}

// checkRuns checks that the program of a version is there and works.
func (c *chroot) checkRuns(version string) {
	c.t.Helper()
	if said := c.run("nettrace", "--version"); !strings.HasPrefix(said, "nettrace "+version+"\n") {
		c.t.Errorf("it says it is %q", said)
	}
	if said := c.run("nettrace", "-tan"); !strings.HasPrefix(said, "Active Internet connections (servers and established)\n") {
		c.t.Errorf("nettrace -tan prints %q", said)
	}
	for _, path := range append(contents, "/usr/share/zsh/vendor-completions/_nettrace") {
		if !c.has(path) {
			c.t.Errorf("%s is missing", path)
		}
	}
}
