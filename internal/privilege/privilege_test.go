package privilege

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
)

// roleVar has the test binary give up privileges: what it does so is for good.
const roleVar = "NETTRACE_TEST_PRIVILEGE"

var kept = capability.Of(unix.CAP_SYS_PTRACE, unix.CAP_SYS_ADMIN)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleVar) {
	case "":
		os.Exit(m.Run())
	case "drop":
		err = playDrop()
	case "become":
		err = playBecome()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func play(t *testing.T, role string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), ErrOneThread.Error()) {
		t.Skip("needs CGO_ENABLED=0")
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestDrop drops while threads work, wait in the kernel and are locked to goroutines.
func TestDrop(t *testing.T) { play(t, "drop") }

// TestBecome goes on as another user, and then drops what was kept for that.
func TestBecome(t *testing.T) { play(t, "become") }

func playDrop() error {
	occupy()
	left, err := Drop(kept)
	if err != nil {
		return err
	}
	occupy() // threads that are started afterwards
	if left != kept {
		return fmt.Errorf("%v is left, want %v", left, kept)
	}
	most := kept | setpcap
	if err := checkThreads(map[string]capability.Set{"CapPrm": most, "CapEff": most, "CapInh": 0, "CapAmb": 0}, "NoNewPrivs:\t1\n"); err != nil {
		return err
	}
	if err := Bound(left); err != nil {
		return err
	}
	if err := checkThreads(map[string]capability.Set{"CapPrm": kept, "CapEff": kept, "CapInh": 0, "CapAmb": 0, "CapBnd": kept}, "NoNewPrivs:\t1\n"); err != nil {
		return err
	}
	if left, err := Drop(capability.Of(unix.CAP_SYS_PTRACE, unix.CAP_BPF)); err != nil || left != capability.Of(unix.CAP_SYS_PTRACE) {
		return fmt.Errorf("dropped once more, %v is left: %w", left, err)
	}
	return nil
}

func playBecome() error {
	occupy()
	had, err := capability.Permitted()
	if err != nil {
		return err
	}
	if err := Become("65534"); err != nil {
		return err
	}
	start := had & all() &^ capability.Of(unix.CAP_DAC_OVERRIDE, unix.CAP_SETUID, unix.CAP_SETGID)
	ids := []string{"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n", "Groups:\t \n"}
	if err := checkThreads(map[string]capability.Set{"CapPrm": start, "CapEff": start}, ids...); err != nil {
		return err
	}
	if _, err := Drop(0); err != nil {
		return err
	}
	if err := Bound(0); err != nil {
		return err
	}
	if err := checkThreads(map[string]capability.Set{"CapPrm": 0, "CapEff": 0, "CapBnd": 0}, ids...); err != nil {
		return err
	}
	if err := Become("0"); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_SETUID") {
		return fmt.Errorf("back to root: %w", err)
	}
	return nil
}

// occupy has threads that wait in the kernel, that are locked, and that work.
func occupy() {
	for range 3 {
		go func() { runtime.LockOSThread(); select {} }()
		go func() { _ = unix.Nanosleep(&unix.Timespec{Sec: 60}, nil) }()
		go func() {
			for range 1 << 30 {
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
}

func checkThreads(sets map[string]capability.Set, lines ...string) error {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) < 6 {
		return fmt.Errorf("%d threads: %w", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for which, want := range sets {
			if got, err := capability.Parse(string(text), which); err != nil || got != want {
				return fmt.Errorf("%s: %s is %v, want %v: %w", file, which, got, want, err)
			}
		}
		for _, line := range lines {
			if !strings.Contains(string(text), line) {
				return fmt.Errorf("%s: no line %q in %s", file, line, text)
			}
		}
	}
	return nil
}

// TestDocs compares the table of features with that of docs/privileges.md.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/privileges.md")
	if err != nil {
		t.Fatal(err)
	}
	names := func(s capability.Set) string {
		if s == 0 {
			return ""
		}
		return "`" + strings.Join(s.Names(), "` `") + "`"
	}
	var rows strings.Builder
	for _, f := range Features {
		fmt.Fprintf(&rows, "| %s | %s | %s | %s | %s |\n", f.Name, f.When, names(f.Start), names(f.Run), f.Without)
	}
	if !strings.Contains(string(text), rows.String()) {
		t.Errorf("docs/privileges.md does not have these rows:\n%s", rows.String())
	}
}

// TestWithout is refused on one thread what this process may do, and may do it again
// afterwards, on that thread too.
func TestWithout(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "of another user")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chown(file, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	read := func() error { _, err := os.ReadFile(file); return err }
	if err := Without(0, read); !errors.Is(err, unix.EACCES) {
		t.Errorf("without any capability: %v", err)
	}
	if err := Without(capability.Of(unix.CAP_DAC_OVERRIDE), read); err != nil {
		t.Errorf("with the right one: %v", err)
	}
	for range 50 {
		if err := read(); err != nil {
			t.Fatal("afterwards:", err)
		}
	}
}

// TestRefused looks at files that may be written with and without privilege.
func TestRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	own, theirs := t.TempDir(), t.TempDir()
	mixed := filepath.Join(own, "theirs")
	if err := errors.Join(os.Chown(theirs, 65534, 65534), os.Chmod(theirs, 0o755), os.WriteFile(mixed, nil, 0o640), os.Chown(mixed, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file string
		want bool
	}{
		{filepath.Join(own, "log"), false},
		{filepath.Join(theirs, "log"), true},
		{mixed, true},
		{filepath.Join(own, "missing", "log"), false}, // nobody may, with any privilege
		{"/dev/null", false},
	} {
		if got := Refused(0, []string{"/dev/null", c.file}); got != c.want {
			t.Errorf("%s is refused: %v, want %v", c.file, got, c.want)
		}
		if Refused(capability.Of(unix.CAP_DAC_OVERRIDE), []string{c.file}) {
			t.Errorf("%s is refused with CAP_DAC_OVERRIDE", c.file)
		}
	}
}

func TestNeeds(t *testing.T) {
	ptrace, bpf := capability.Of(unix.CAP_SYS_PTRACE), capability.Of(unix.CAP_BPF, unix.CAP_PERFMON)
	for _, c := range []struct {
		needs      Needs
		start, run capability.Set
	}{
		{Needs{}, bpf, 0},
		{Needs{Owners: true}, bpf | ptrace, ptrace},
		{Needs{Owners: true, BPF: true, Memlock: true}, bpf | ptrace | capability.Of(unix.CAP_SYS_RESOURCE), bpf | ptrace},
		{Needs{Cgroup: true}, bpf | capability.Of(unix.CAP_NET_ADMIN), 0},
		{Needs{Mount: true}, bpf, 0},
		{Needs{Netns: true}, bpf | capability.Of(unix.CAP_SYS_ADMIN), 0},
		{Needs{AllNetns: true}, bpf | kept, kept},
		{Needs{Polls: true}, 0, 0},
		{Needs{Polls: true, Owners: true, ProcOwners: true}, ptrace | capability.Of(unix.CAP_DAC_READ_SEARCH), ptrace | capability.Of(unix.CAP_DAC_READ_SEARCH)},
		{Needs{Files: true, User: true}, bpf | capability.Of(unix.CAP_DAC_OVERRIDE, unix.CAP_SETUID, unix.CAP_SETGID), capability.Of(unix.CAP_DAC_OVERRIDE)},
	} {
		if c.needs.Start() != c.start || c.needs.Run() != c.run {
			t.Errorf("%+v: %v at the start, %v afterwards; want %v, %v", c.needs, c.needs.Start(), c.needs.Run(), c.start, c.run)
		}
	}
}

func TestParanoid(t *testing.T) {
	for text, want := range map[string]bool{"2\n": false, "3\n": true, "4": true, "-1\n": false, "": false} {
		file := filepath.Join(t.TempDir(), "level")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := paranoid(file); got != want {
			t.Errorf("level %q wants CAP_SYS_ADMIN: %v", text, got)
		}
	}
	if paranoid("/nonexistent") {
		t.Error("a kernel without the setting wants CAP_SYS_ADMIN")
	}
}

const passwd = `root:x:0:0:root:/root:/bin/sh
# nettrace:x:7:7
short:x:9
bad:x:nine:9:::
nettrace:x:998:997::/:/usr/sbin/nologin
other:x:998:1:::
`

func TestLookUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(file, []byte(passwd), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user     string
		uid, gid int
		err      error
	}{
		{"root", 0, 0, nil},
		{"nettrace", 998, 997, nil},
		{"998", 998, 997, nil},
		{"1234", 1234, 1234, nil},
		{"nobodyhere", 0, 0, ErrNoUser},
		{"short", 0, 0, ErrNoUser},
		{"bad", 0, 0, ErrNoUser},
		{"-1", 0, 0, ErrNoUser},
		{"4294967295", 0, 0, ErrNoUser}, // means "unchanged" to setresuid(2)
	} {
		uid, gid, err := lookUp(file, c.user)
		if uid != c.uid || gid != c.gid || !errors.Is(err, c.err) {
			t.Errorf("%s: %d, %d, %v; want %d, %d, %v", c.user, uid, gid, err, c.uid, c.gid, c.err)
		}
	}
	if uid, gid, err := lookUp("/nonexistent", "12"); uid != 12 || gid != 12 || err != nil {
		t.Errorf("without a file: %d, %d, %v", uid, gid, err)
	}
}

func FuzzLookUp(f *testing.F) {
	f.Add(passwd, "nettrace")
	f.Add("a:b:-1:4294967295", "a")
	f.Fuzz(func(t *testing.T, text, user string) {
		file := filepath.Join(t.TempDir(), "passwd")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		uid, gid, err := lookUp(file, user)
		if err != nil && !errors.Is(err, ErrNoUser) || uid < 0 || gid < 0 || err != nil && uid+gid != 0 {
			t.Errorf("%d, %d, %v", uid, gid, err)
		}
	})
}
