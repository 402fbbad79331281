package ship

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shipper is a program that takes records and hands them on to a file.
type shipper struct {
	name   string
	recipe string // its configuration, in deploy/shippers
	// start returns the command that runs the recipe, which has its paths in dir.
	start func(t *testing.T, dir, recipe string) *exec.Cmd
	// record makes the record again of a line that it hands on; nil: the line is one.
	record func(line []byte) (map[string]any, error)
	// leftOut are the members that the recipe does not hand on.
	leftOut []string
	// another is set where the records are those of another output than what is
	// compared with.
	another bool
}

var rsyslog = shipper{name: "rsyslog", recipe: "rsyslog.conf", start: startRsyslog}

var syslogNG = shipper{name: "syslog-ng", recipe: "syslog-ng.conf", start: startSyslogNG}

var telegraf = shipper{
	name: "telegraf", recipe: "telegraf.conf", start: startTelegraf,
	record: ofTelegraf, leftOut: []string{"hooks", "inexact"},
}

func startRsyslog(t *testing.T, dir, recipe string) *exec.Cmd {
	path := lookPath(t, "rsyslogd")
	writeFile(t, filepath.Join(dir, "spool/.keep"), "")
	main := filepath.Join(dir, "main.conf")
	writeFile(t, main, fmt.Sprintf("global(workDirectory=%q)\ninclude(file=%q)\n", filepath.Join(dir, "spool"), recipe))
	return exec.Command(path, "-n", "-f", main, "-i", filepath.Join(dir, "pid"))
}

func startSyslogNG(t *testing.T, dir, recipe string) *exec.Cmd {
	path := lookPath(t, "syslog-ng")
	usr := filepath.Dir(filepath.Dir(path))
	main := filepath.Join(dir, "main.conf")
	writeFile(t, main, fmt.Sprintf("@version: 3.38\n@include %q\n", recipe))
	cmd := exec.Command(path, "-F", "-f", main, "--no-caps", "--persist-file", filepath.Join(dir, "persist"),
		"--pidfile", filepath.Join(dir, "pid"), "--control", filepath.Join(dir, "ctl"))
	if modules, err := filepath.Glob(filepath.Join(usr, "lib/syslog-ng/*")); err == nil && usr != "/usr" {
		var libraries []string
		for _, pattern := range []string{"usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib/syslog-ng", "usr/lib/syslog-ng/*"} {
			found, _ := filepath.Glob(filepath.Join(filepath.Dir(usr), pattern))
			libraries = append(libraries, found...)
		}
		cmd.Args = append(cmd.Args, "--module-path", strings.Join(modules, ":"))
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	}
	return cmd
}

func startTelegraf(t *testing.T, _, recipe string) *exec.Cmd {
	return exec.Command(lookPath(t, "telegraf"), "--quiet", "--config", recipe)
}

// ofTelegraf makes the record of a metric again: the time is the metric's own, and
// event and host are tags.
func ofTelegraf(line []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var metric struct {
		Fields    map[string]any
		Tags      map[string]string
		Timestamp json.Number
	}
	if err := d.Decode(&metric); err != nil {
		return nil, err
	}
	for key, value := range metric.Tags {
		if key != "socket" { // it says where the record came from
			metric.Fields[key] = value
		}
	}
	micros, err := metric.Timestamp.Int64()
	metric.Fields["timestamp"] = time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.000000Z")
	return metric.Fields, err
}

// running is a shipper at work.
type running struct {
	shipper
	t   *testing.T
	dir string
	cmd *exec.Cmd
	log bytes.Buffer
	out counted

	ended chan struct{} // closed when its process has ended
}

// run starts a shipper. The words of its recipe that stand in other are replaced, such
// as the path of the file that it follows; what it writes is in its own directory.
func (s shipper) run(t *testing.T, other ...string) *running {
	t.Helper()
	return s.runIn(t, "", other...)
}

// runIn is run in a network namespace.
func (s shipper) runIn(t *testing.T, netns string, other ...string) *running {
	t.Helper()
	r := &running{shipper: s, t: t, dir: filepath.Join(t.TempDir(), s.name), ended: make(chan struct{})}
	recipe := filepath.Join(r.dir, s.recipe)
	writeFile(t, recipe, strings.NewReplacer(append(other,
		"/var/log/nettrace-tcp.json", r.path("tcp.json"), "/var/log/nettrace.json", r.path("out.json"),
		"/var/log/nettrace.bad", r.path("bad"), "/run/nettrace.sock", r.path("sock"),
	)...).Replace(readFile(t, filepath.Join(root, "deploy/shippers", s.recipe))))
	r.cmd = s.start(t, r.dir, recipe)
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	var err error
	inNetns(t, netns, func() { err = r.cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait() // it is killed at the end
		close(r.ended)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.ended
		if t.Failed() {
			t.Logf("%s says: %.2000s", s.name, r.log.String())
		}
	})
	return r
}

func (r *running) path(name string) string { return filepath.Join(r.dir, name) }

// counted counts the lines of a file that grows.
type counted struct {
	read  int64
	lines int
}

// count returns the lines so far. It reads only what is new.
func (c *counted) count(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := f.ReadAt(buf, c.read)
		c.read += int64(n)
		c.lines += bytes.Count(buf[:n], []byte("\n"))
		if err != nil {
			return c.lines
		}
	}
}

// follows waits until it has handed on n lines.
func (r *running) follows(n int) {
	r.t.Helper()
	r.awaitLines("out.json", &r.out, n)
}

// followsFile waits until it has handed on n lines to another file.
func (r *running) followsFile(name string, n int) {
	r.t.Helper()
	r.awaitLines(name, new(counted), n)
}

// awaitLines waits for lines. The deadline only ends a test that hangs.
func (r *running) awaitLines(name string, c *counted, n int) {
	r.t.Helper()
	for end := time.Now().Add(90 * time.Second); c.count(r.path(name)) < n; {
		if time.Now().After(end) {
			r.t.Fatalf("%s handed on %d of %d records to %s and then no more", r.name, c.lines, n, name)
		}
		select {
		case <-r.ended:
			r.t.Fatalf("%s has ended: %v", r.name, r.cmd.ProcessState)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// check compares what it has handed on with what was written.
func (r *running) check(w *written) {
	r.t.Helper()
	if b, err := os.ReadFile(r.path("bad")); err == nil && len(b) > 0 {
		r.t.Errorf("%s does not take some lines: %.300s", r.name, b)
	}
	r.checkFile("out.json", w)
}

func (r *running) checkFile(name string, w *written) {
	r.t.Helper()
	b := []byte(readFile(r.t, r.path(name)))
	diff := newComparison(w)
	for line := range bytes.Lines(b) {
		diff.line(r.shipper, bytes.TrimSuffix(line, []byte("\n")))
	}
	diff.report(r.t, r.name+" "+name)
}

// comparison holds what a shipper made of the records, by seq.
type comparison struct {
	want         *written
	seen         map[uint64]bool
	twice, other int
	examples     []string
}

func newComparison(w *written) *comparison {
	return &comparison{want: w, seen: make(map[uint64]bool)}
}

func (c *comparison) line(s shipper, line []byte) {
	seq := seqOf(line)
	if s.record == nil && bytes.Equal(c.want.lines[seq], line) {
		c.mark(seq)
		return
	}
	of := s.record
	if of == nil {
		of = decode
	}
	record, err := of(line)
	if err != nil {
		c.differs(fmt.Sprintf("%v: %s", err, line))
		return
	}
	c.record(record, s)
}

// record compares a record that a shipper handed on.
func (c *comparison) record(got map[string]any, s shipper) {
	number, _ := got["seq"].(json.Number)
	seq64, err := number.Int64()
	seq := uint64(seq64)
	if err != nil || c.want.lines[seq] == nil {
		c.differs(fmt.Sprintf("no record was written with the number of %v", got))
		return
	}
	c.mark(seq)
	want, err := decode(c.want.lines[seq])
	if err != nil {
		c.differs(err.Error())
		return
	}
	for _, name := range s.leftOut {
		delete(want, name)
	}
	if s.another {
		want, got = common(want), common(got)
	}
	if a, b := marshal(want), marshal(got); a != b {
		c.differs(fmt.Sprintf("written %s\nhanded on %s", a, b))
	}
}

// common returns what a record has in every output: each one has its own time for what
// no event of the kernel stands behind, and its own totals.
func common(record map[string]any) map[string]any {
	switch record["event"] {
	case "stats", "stop":
		return map[string]any{"event": record["event"], "seq": record["seq"], "run_id": record["run_id"]}
	}
	if record["mono_ns"] == nil {
		delete(record, "timestamp")
	}
	return record
}

func (c *comparison) mark(seq uint64) {
	if c.seen[seq] {
		c.twice++
	}
	c.seen[seq] = true
}

func (c *comparison) differs(example string) {
	c.other++
	if len(c.examples) < 3 {
		c.examples = append(c.examples, example)
	}
}

func (c *comparison) report(t *testing.T, name string) {
	t.Helper()
	missing := 0
	for seq, line := range c.want.lines {
		if !c.seen[seq] {
			if missing++; missing <= 3 {
				c.examples = append(c.examples, "missing: "+string(line))
			}
		}
	}
	if missing+c.twice+c.other > 0 || len(c.want.lines) == 0 {
		t.Errorf("%s: of %d records %d are missing, %d came twice, %d are others\n%s",
			name, len(c.want.lines), missing, c.twice, c.other, strings.Join(c.examples, "\n"))
		return
	}
	t.Logf("%s: %d records, each once and as it was", name, len(c.want.lines))
}

// marshal writes a value with its members in order.
func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
