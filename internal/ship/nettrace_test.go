package ship

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
)

const root = "../.."

// connections is how many the shippers have to follow.
const connections = 30_000

func TestMain(m *testing.M) {
	load.Main()
	status := m.Run()
	_ = os.RemoveAll(builtIn)
	os.Exit(status)
}

// builtIn is the directory that built has made.
var builtIn string

// built builds nettrace and returns the directory that it is in.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nettrace-ship")
	if err != nil {
		return "", err
	}
	builtIn = dir
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "nettrace"), "./cmd/nettrace")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as make does
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("go build: %w: %s", err, out)
	}
	return dir, nil
})

// tracing is a running nettrace.
type tracing struct {
	t      *testing.T
	cmd    *exec.Cmd
	netns  string
	first  int // connection that has not been made yet
	stderr bytes.Buffer
}

// newNetns makes a network namespace for a run. Without BTF it skips the test.
func newNetns(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip("needs a kernel with BTF: ", err)
	}
	netns := testnet.New(t)
	testnet.Set(t, netns, "net/core/somaxconn", "65535")
	return netns
}

// inNetns runs f on a thread in a namespace, or in the current one if it is "".
func inNetns(t *testing.T, netns string, f func()) {
	t.Helper()
	if netns == "" {
		f()
		return
	}
	testnet.In(t, netns, f)
}

// traceIn starts nettrace in a network namespace, with a server of the load, and waits
// until the file, which is one of its outputs, has the table at the start.
func traceIn(t *testing.T, netns, file string, outputs ...string) *tracing {
	t.Helper()
	tr := &tracing{t: t, netns: netns}
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	tr.cmd = exec.Command(filepath.Join(dir, "nettrace"), "-c", "--json", "--require-bpf", "--ring-size", "64M")
	for _, o := range outputs {
		tr.cmd.Args = append(tr.cmd.Args, "--output", o)
	}
	tr.begin(file)
	return tr
}

// begin starts the command and a server of the load, and waits until the file has the
// table at the start.
func (tr *tracing) begin(file string) {
	tr.t.Helper()
	t := tr.t
	tr.cmd.Stderr = &tr.stderr
	var err error
	testnet.In(t, tr.netns, func() { err = tr.cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // in case the test fails before stop
		_ = tr.cmd.Process.Kill()
		_ = tr.cmd.Wait()
	})
	await(t, "the table at the start", func() bool {
		b, err := os.ReadFile(file)
		return err == nil && bytes.Contains(b, []byte(`"event":"snapshot_end"`))
	})
	server := tr.role(load.Server())
	t.Cleanup(func() { _ = server.Stop() })
}

func (tr *tracing) role(role string) *load.Process {
	tr.t.Helper()
	p, err := load.Start(role, tr.netns)
	if err != nil {
		tr.t.Fatal(err)
	}
	return p
}

// connect makes connections that all end as ending says.
func (tr *tracing) connect(count int, ending load.Ending) {
	tr.t.Helper()
	p := tr.role(load.Client(tr.first, count, ending))
	tr.first += count
	if err := errors.Join(p.Go(), p.Done(), p.Stop()); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tracing) signal(s os.Signal) {
	tr.t.Helper()
	if err := tr.cmd.Process.Signal(s); err != nil {
		tr.t.Fatal(err)
	}
}

// stop ends nettrace and checks how it ended.
func (tr *tracing) stop() {
	tr.t.Helper()
	tr.signal(syscall.SIGTERM)
	if err := tr.cmd.Wait(); err != nil {
		tr.t.Fatalf("nettrace: %v; stderr: %s", err, tr.stderr.String())
	}
	if tr.stderr.Len() > 0 {
		tr.t.Errorf("nettrace says: %s", tr.stderr.String())
	}
}

// await waits until done reports true. The deadline only ends a test that hangs.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come within a minute", what)
		}
	}
}

// written are the lines of an output by seq, in all its files.
type written struct {
	files []string // the oldest first
	lines map[uint64][]byte
	last  uint64
}

// readWritten reads a file with all that its rotations and renames have left, and
// checks that each line is whole and numbered, that each file begins with a start
// record, and that nothing was lost.
func readWritten(t *testing.T, path string) *written {
	t.Helper()
	w := &written{lines: make(map[uint64][]byte)}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("files of %s: %v, %v", path, files, err)
	}
	firsts := make(map[string]uint64)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 || b[len(b)-1] != '\n' {
			t.Fatalf("%s has %d bytes and does not end with a whole line", file, len(b))
		}
		for line := range bytes.Lines(b) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			seq := w.add(t, line)
			if firsts[file] == 0 {
				firsts[file] = seq
				if event(line) != "start" {
					t.Errorf("%s begins with %s", file, line)
				}
			}
		}
		w.files = append(w.files, file)
	}
	slices.SortFunc(w.files, func(a, b string) int { return int(firsts[a]) - int(firsts[b]) })
	if int(w.last) != len(w.lines) {
		t.Errorf("%d records have numbers up to %d", len(w.lines), w.last)
	}
	return w
}

func (w *written) add(t *testing.T, line []byte) uint64 {
	t.Helper()
	seq := seqOf(line)
	if seq == 0 || w.lines[seq] != nil {
		t.Fatalf("a line has no number, or one that another one has: %s", line)
	}
	if event(line) == "lost" {
		t.Errorf("events were lost: %s", line)
	}
	w.lines[seq] = line
	w.last = max(w.last, seq)
	return seq
}

// count returns the number of records of a kind.
func (w *written) count(kind string) int {
	n := 0
	for _, line := range w.lines {
		if event(line) == kind {
			n++
		}
	}
	return n
}

// inOrder returns the lines in the order of their numbers.
func (w *written) inOrder() [][]byte {
	var lines [][]byte
	for seq := uint64(1); seq <= w.last; seq++ {
		lines = append(lines, w.lines[seq])
	}
	return lines
}

// event returns the kind of a line as nettrace writes it.
func event(line []byte) string { return member(line, `"event":"`, `"`) }

// seqOf returns the number of a line as nettrace writes it, or 0.
func seqOf(line []byte) uint64 {
	n, _ := strconv.ParseUint(member(line, `"seq":`, ","), 10, 64)
	return n
}

func member(line []byte, before, after string) string {
	_, rest, _ := bytes.Cut(line, []byte(before))
	value, _, _ := bytes.Cut(rest, []byte(after))
	return string(value)
}

// decode reads a record. Its numbers stay as they are written.
func decode(line []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var record map[string]any
	err := d.Decode(&record)
	return record, err
}

// lookPath returns a program that .ci/shippers has installed or unpacked, and skips the
// test if it is not there.
func lookPath(t *testing.T, name string) string {
	t.Helper()
	for _, pattern := range []string{name, name + "@*/" + name, name + "/usr/sbin/" + name} {
		found, err := filepath.Glob(filepath.Join(root, ".cache/shippers", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
				return absolute(t, path)
			}
		}
	}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path
		}
	}
	t.Skipf("needs %s: bash .ci/shippers installs it", name)
	return ""
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return path
}

// readFile returns a file's content.
func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// words joins paths for a message.
func words(paths []string) string {
	var names []string
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return strings.Join(names, " ")
}
