package view

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/output"
)

var update = flag.Bool("update", false, "rewrite the golden files by running netstat over the fixtures")

const netstat = "/usr/bin/netstat"

// needNetstat skips a test that compares with netstat if there is no netstat of the
// right version, or if fixtures cannot be mounted over /proc.
func needNetstat(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount fixtures over /proc")
	}
	version, err := exec.Command(netstat, "-V").Output()
	if err != nil {
		t.Skipf("needs netstat to compare with: %v", err)
	}
	if first, _, _ := strings.Cut(string(version), "\n"); first != "net-tools 2.10" {
		t.Skipf("needs netstat of net-tools 2.10, found %q", first)
	}
}

// result is what a program, or a view that stands for it, printed and returned.
type result struct {
	Stdout, Stderr string
	Status         int
}

func (r result) String() string {
	return fmt.Sprintf("%s-- stderr --\n%s-- status %d --\n", r.Stdout, r.Stderr, r.Status)
}

// The hosts and networks that both sides know in tests.
const (
	hostsFile = "127.0.0.1 localhost\n::1 localhost\n10.1.2.3 alpha.example.test alpha\n" +
		"192.168.100.200 a-very-long-host-name.example.test\n2001:db8::1 six.example.test\n224.0.0.1 all-hosts\nff02::1 all-nodes\n"
	networksFile = "loopback 127.0.0.0\nlocalnet 10.0.0.0\ntestnet 192.168.100.0\nzeronet 0.1.2.0\n"
)

// testNames knows the names in hostsFile and networksFile.
type testNames struct{}

func lookup(file, key string, column int) string {
	for line := range strings.Lines(file) {
		if f := strings.Fields(line); f[column] == key {
			return f[1-column]
		}
	}
	return ""
}

func (testNames) Host(a netip.Addr) string {
	if a.Is4() && a.As4()[0] == 0 {
		return testNames{}.Network(a)
	}
	return lookup(hostsFile, a.String(), 0)
}

func (testNames) Network(a netip.Addr) string { return lookup(networksFile, a.String(), 1) }

// etcDir makes the files that netstat looks names up in.
func etcDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "hosts", hostsFile)
	write(t, dir, "networks", networksFile)
	write(t, dir, "nsswitch.conf", "hosts: files\nnetworks: files\nservices: files\n")
	return dir
}

// write makes a file with its directory.
func write(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// overProc runs a command with the files of $1 mounted over those of /etc, and with
// $2 mounted over /proc, unless it is /proc itself.
const overProc = `
etc=$1 proc=$2
shift 2
mount --make-rprivate /
for f in hosts networks nsswitch.conf; do mount --bind "$etc/$f" "/etc/$f"; done
[ "$proc" = /proc ] || mount --bind "$proc" /proc
exec env -i LC_ALL=C "$@"`

// runNetstat runs netstat over a proc root, in a network namespace unless its
// name is empty.
func runNetstat(t testing.TB, etc, proc, netns string, args ...string) result {
	t.Helper()
	words := append([]string{"unshare", "-m", "sh", "-ec", overProc, "sh", etc, proc, netstat}, args...)
	if netns != "" {
		words = append([]string{"ip", "netns", "exec", netns}, words...)
	}
	cmd := exec.Command(words[0], words[1:]...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil && exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Fatalf("netstat %q: %v", args, err)
	}
	return result{out.String(), diag.String(), cmd.ProcessState.ExitCode()}
}

// view is a view with its options.
type view func(w, diag io.Writer, proc string) error

// unbuffered is a Stdout that writes at once.
type unbuffered struct{ io.Writer }

func (unbuffered) Flush() error { return nil }

// testSession returns a run that takes its names from elsewhere than the
// system.
func testSession(w, diag io.Writer, proc string, o Options, known output.Names) *session {
	s := newSession(Env{Stdout: unbuffered{w}, Stderr: diag, Proc: proc}, o)
	s.names = known
	return s
}

// viewOf returns a view with its options. Without names it has numbers.
func viewOf(o Options, known output.Names) view {
	return func(w, diag io.Writer, proc string) error { return testSession(w, diag, proc, o, known).round() }
}

// runView runs a view as nettrace does.
func runView(t testing.TB, v view, proc string) result {
	t.Helper()
	var out, diag bytes.Buffer
	err := v(&out, &diag, proc)
	r := result{out.String(), diag.String(), 0}
	var failure *Error
	switch {
	case errors.As(err, &failure) && failure.Message == "":
		r.Status = failure.Status
	case err != nil:
		t.Fatalf("the view gives an error that is no status: %v", err)
	}
	return r
}

// trial is a command line of netstat and the view that must have the same result.
type trial struct {
	args string
	view view
}

// compare runs netstat and the views over the same files. It reports differences and
// returns how many trials differ.
func compare(t *testing.T, etc, proc string, trials []trial) (differ int) {
	t.Helper()
	for _, c := range trials {
		want := runNetstat(t, etc, proc, "", strings.Fields(c.args)...)
		got := runView(t, c.view, proc)
		if diff := cmp.Diff(want, got); diff != "" {
			differ++
			t.Errorf("netstat %s (-netstat +nettrace):\n%s", c.args, diff)
		}
	}
	return differ
}

// compareRandom compares the views with netstat over a number of random scenes.
// scene writes the files of one into dir, the proc root, and returns what to try
// there. Each test passes a stream of random numbers of its own.
func compareRandom(t *testing.T, scenes, stream uint64, scene func(rnd *rand.Rand, dir string) []trial) {
	t.Helper()
	needNetstat(t)
	etc := etcDir(t)
	compared, differ := 0, 0
	for seed := range seeds(scenes) {
		dir := t.TempDir()
		trials := scene(rand.New(rand.NewPCG(seed, stream)), dir)
		compared += len(trials)
		if n := compare(t, etc, dir, trials); n > 0 {
			differ += n
			t.Logf("seed %d", seed)
		}
	}
	t.Logf("%d compared, %d differ", compared, differ)
}

// golden compares the views with netstat's recorded results over the fixtures in
// testdata/proc.
func golden(t *testing.T, name string, trials []trial) {
	t.Helper()
	goldenOver(t, "proc", name, trials)
}

// goldenOver does the same as golden over other fixtures.
func goldenOver(t *testing.T, fixture, name string, trials []trial) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	proc, err := filepath.Abs(filepath.Join("testdata", fixture))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		needNetstat(t)
		etc := etcDir(t)
		var b strings.Builder
		for _, c := range trials {
			fmt.Fprintf(&b, "== netstat %s\n%s", c.args, runNetstat(t, etc, proc, "", strings.Fields(c.args)...))
		}
		write(t, "testdata", name+".golden", b.String())
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, c := range trials {
		fmt.Fprintf(&got, "== netstat %s\n%s", c.args, runView(t, c.view, proc))
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-netstat +nettrace):\n%s", diff)
	}
}

// seeds returns how many random scenes a test tries: n, or a tenth with -short.
func seeds(n uint64) uint64 {
	if testing.Short() {
		return n / 10
	}
	return n
}
