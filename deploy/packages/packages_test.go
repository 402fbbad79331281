package packages

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// contents are the files of both packages, apart from documents.
var contents = []string{
	"/etc/logrotate.d/nettrace",
	"/usr/bin/nettrace",
	"/usr/lib/systemd/system/nettrace.service",
	"/usr/share/bash-completion/completions/nettrace",
	"/usr/share/doc/nettrace/libraries.txt",
	"/usr/share/doc/nettrace/nettrace.schema.json",
	"/usr/share/fish/vendor_completions.d/nettrace.fish",
	"/usr/share/man/man8/nettrace.8.gz",
}

// command runs a program, which must succeed, and returns what it printed.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// need skips where a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("needs ", err)
		}
	}
}

// built makes the packages of a version for this machine and returns their paths.
func built(t *testing.T, version string) (deb, rpm string) {
	t.Helper()
	nfpm, _ := filepath.Glob("../../.cache/nfpm@*/nfpm") // the pattern is right
	if len(nfpm) == 0 {
		t.Skip("needs nfpm: make package installs it")
	}
	need(t, "gzip", "dpkg-deb")
	dir := t.TempDir()
	cmd := exec.Command("./build", nfpm[len(nfpm)-1], dir, runtime.GOARCH)
	cmd.Env = append(os.Environ(), "VERSION="+version, "COMMIT=0123456789abcdef", "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	debs, _ := filepath.Glob(dir + "/*.deb")
	rpms, _ := filepath.Glob(dir + "/*.rpm")
	if len(debs) != 1 || len(rpms) != 1 {
		t.Fatalf("made %q and %q, want one of each", debs, rpms)
	}
	return debs[0], rpms[0]
}

func TestPackages(t *testing.T) {
	deb, rpm := built(t, "v1.2.3-4-gabcdef")
	if name := filepath.Base(deb); name != "nettrace_1.2.3+4.gabcdef_"+runtime.GOARCH+".deb" {
		t.Errorf("the deb is called %s", name)
	}
	t.Run("reproducible", func(t *testing.T) {
		debAgain, rpmAgain := built(t, "v1.2.3-4-gabcdef")
		checkSame(t, deb, debAgain)
		checkSame(t, rpm, rpmAgain)
	})
	t.Run("deb", func(t *testing.T) {
		files := command(t, "dpkg-deb", "--fsys-tarfile", deb)
		for _, path := range append(contents, "/usr/share/zsh/vendor-completions/_nettrace", "/usr/share/doc/nettrace/copyright") {
			if !strings.Contains(files, "."+path+"\x00") {
				t.Errorf("%s is not in it", path)
			}
		}
	})
	t.Run("lintian", func(t *testing.T) {
		need(t, "lintian")
		if said := command(t, "lintian", "--fail-on", "error,warning", "--allow-root", deb); strings.Contains(said, "nettrace: ") {
			t.Error(said)
		}
	})
	t.Run("rpm", func(t *testing.T) { testRPM(t, deb, rpm) })
	t.Run("chroot", func(t *testing.T) { testChroot(t, deb) })
}

// checkSame checks that two files have the same bytes.
func checkSame(t *testing.T, one, other string) {
	t.Helper()
	a, errA := os.ReadFile(one)
	b, errB := os.ReadFile(other)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if len(a) == 0 || !bytes.Equal(a, b) {
		t.Errorf("two builds of %s differ", filepath.Base(one))
	}
}

// testRPM checks what is in an rpm, and that its program is that of the deb.
func testRPM(t *testing.T, deb, rpm string) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	need(t, "rpm")
	files := strings.Split(command(t, "rpm", "-qlp", rpm), "\n")
	for _, path := range append(contents, "/usr/share/zsh/site-functions/_nettrace", "/usr/share/licenses/nettrace/LICENSE") {
		if !slices.Contains(files, path) {
			t.Errorf("%s is not in it", path)
		}
	}
	if config := strings.TrimSpace(command(t, "rpm", "-qpc", rpm)); config != "/etc/logrotate.d/nettrace" {
		t.Errorf("files of the configuration are %q", config)
	}
	if host := command(t, "rpm", "-qp", "--queryformat", "%{BUILDHOST} %{VERSION}", rpm); host != "localhost 1.2.3+4.gabcdef" {
		t.Errorf("built on, version: %s", host)
	}
	dir := t.TempDir()
	command(t, "dpkg-deb", "-x", deb, dir+"/deb")
	root := dir + "/rpm"
	// The scripts need a shell, which an empty system does not have.
	command(t, "rpm", "--root", root, "-i", "--nodeps", "--noscripts", "--ignorearch", rpm)
	checkSame(t, dir+"/deb/usr/bin/nettrace", root+"/usr/bin/nettrace")
	want := "nettrace v1.2.3-4-gabcdef\ncommit 0123456789abcdef\n" + runtime.Version() + " linux/" + runtime.GOARCH + "\n"
	if got := command(t, root+"/usr/bin/nettrace", "--version"); got != want {
		t.Errorf("it says it is %q, want %q", got, want)
	}
	command(t, "rpm", "--root", root, "-V", "--nodeps", "nettrace")
	command(t, "rpm", "--root", root, "-e", "--noscripts", "nettrace")
	if left := command(t, "find", root, "-path", "*nettrace*", "-not", "-type", "d"); left != "" {
		t.Errorf("the removal leaves %s", left)
	}
}
