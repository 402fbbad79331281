package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Every view is compared with netstat itself. Both programs run each command line in
// a scene, that is, in namespaces with chosen sockets or files, and must agree in
// stdout, stderr and exit status. An environment variable gives the test binary one
// of three roles beside the test: nettrace, where there is no other one; the process
// that sets up a scene and runs the command lines in it; and a process that holds sockets
// open.
const (
	roleVar  = "NETTRACE_TEST_ROLE"
	sceneVar = "NETTRACE_TEST_SCENE"
	selfVar  = "NETTRACE_TEST_SELF" // path of the test binary for all users

	subjectVar = "NETTRACE_TEST_SUBJECT" // path of nettrace for all users

	roleMain    = "main"
	roleScene   = "scene"
	roleHold    = "hold"
	roleRefused = "refused" // main, with less than root has: see refuse
)

const judge = "/usr/bin/netstat"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case roleMain:
		main()
	case roleRefused:
		fmt.Fprintln(os.Stderr, refuse(os.Getenv(refusalVar)))
		os.Exit(1)
	case roleHold:
		// The sockets are inherited; the parent ends this by closing stdin.
		_, _ = io.Copy(io.Discard, os.Stdin)
	case roleFilter:
		if err := playFilterScene(os.Getenv(sceneVar), os.Getenv(seedVar)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case roleScene:
		if err := playScene(os.Getenv(sceneVar)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// trial is one command line and how it is run.
type trial struct {
	Args []string
	UID  uint32
	Sink sink
}

// sink says where stdout and stderr go.
type sink string

const (
	sinkFiles  sink = ""       // each into a buffer
	sinkMerged sink = "2>&1"   // both into one pipe
	sinkFull   sink = ">full"  // stdout has no space left
	sinkClosed sink = ">&-"    // stdout is closed
	sinkHead   sink = "| head" // the reader of stdout takes one line and goes
	sinkRounds sink = "rounds" // killed after the second round of -c
)

// String spells the trial as a shell would.
func (t trial) String() string {
	s := fmt.Sprintf("%q %s", t.Args, t.Sink)
	if t.UID != 0 {
		s += fmt.Sprintf(" (uid %d)", t.UID)
	}
	return s
}

// result is what a program did.
type result struct {
	Stdout, Stderr string
	Status         string
}

// verdict is the outcome of a trial: equal results, different ones, or a netstat
// whose results before and after nettrace's differ.
type verdict struct {
	Trial          trial
	Unsteady       bool
	Judge, Subject result
}

func TestNetstat(t *testing.T) {
	needJudge(t)
	self := copySelf(t)
	subject := buildSubject(t, self)
	var compared, differ atomic.Int64
	t.Cleanup(func() { t.Logf("%d compared, %d differ", compared.Load(), differ.Load()) })
	for _, s := range scenes() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel() // each scene has namespaces of its own
			verdicts := runScene(t, self, subject, s)
			compared.Add(int64(len(verdicts)))
			differ.Add(int64(judgeVerdicts(t, verdicts)))
		})
	}
}

// judgeVerdicts reports what differs, and returns how many do.
func judgeVerdicts(t *testing.T, verdicts []verdict) (differ int) {
	t.Helper()
	for _, v := range verdicts {
		switch diff := cmp.Diff(v.Judge, v.Subject); {
		case v.Unsteady:
			t.Errorf("%v: netstat does not agree with itself:\n%s", v.Trial, diff)
		case diff != "":
			differ++
			t.Errorf("%v (-netstat +nettrace):\n%s", v.Trial, diff)
		}
	}
	return differ
}

// needJudge skips a test without net-tools' netstat of the right version, or without
// the privilege to set up scenes.
func needJudge(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	version, err := exec.Command(judge, "-V").Output()
	if err != nil && inMachine {
		t.Fatalf("netstat must be in the machine: %v", err)
	}
	if err != nil {
		t.Skipf("needs netstat to compare with: %v", err)
	}
	if first, _, _ := strings.Cut(string(version), "\n"); first != "net-tools 2.10" {
		t.Skipf("needs netstat of net-tools 2.10, found %q", first)
	}
}

// copySelf copies the test binary to where other users may run it.
func copySelf(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "nt-differential-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "nettrace.test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// buildSubject returns the path of nettrace for all users. It is built beside the test
// binary, which starts four times as slowly: some thousand times.
func buildSubject(t *testing.T, self string) string {
	t.Helper()
	if inMachine {
		return "/usr/bin/nettrace"
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Log("comparing the test binary, as there is nothing to build nettrace with: ", err)
		return self
	}
	path := filepath.Join(filepath.Dir(self), "nettrace")
	build := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make does
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return path
}

// runScene runs the trials of a scene in a process with namespaces of its own.
func runScene(t *testing.T, self, subject string, s scene) []verdict {
	t.Helper()
	cmd := exec.Command(self)
	cmd.Env = append(testEnviron(), roleVar+"="+roleScene, sceneVar+"="+s.name, selfVar+"="+self, subjectVar+"="+subject)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: s.namespaces}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scene: %v\n%s", err, stderr.Bytes())
	}
	if stderr.Len() > 0 {
		t.Logf("scene: %s", stderr.Bytes())
	}
	var verdicts []verdict
	if err := json.Unmarshal(out, &verdicts); err != nil {
		t.Fatalf("scene: %v", err)
	}
	return verdicts
}

// testEnviron is an environment in which both programs speak English.
func testEnviron() []string {
	return []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
}

// playScene sets up a scene, runs its trials and prints the verdicts. It runs in a
// process of its own.
func playScene(name string) error {
	i := slices.IndexFunc(scenes(), func(s scene) bool { return s.name == name })
	if i < 0 {
		return fmt.Errorf("no scene %q", name)
	}
	s := scenes()[i]
	end, err := s.set()
	if err != nil {
		return fmt.Errorf("set scene %s: %w", name, err)
	}
	defer end()
	var verdicts []verdict
	for _, t := range s.trials() {
		verdicts = append(verdicts, s.try(t))
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

// How often a trial is repeated until netstat's results before and after agree.
const attempts = 5

// try runs a trial with both programs. In a live scene netstat runs before and after
// nettrace, and the trial counts only if both runs of netstat agree.
func (s *scene) try(t trial) verdict {
	v := verdict{Trial: t, Unsteady: true}
	for range attempts {
		before, subject := runBoth(t)
		v.Subject = subject
		v.Judge = before
		if s.live && t.Sink != sinkRounds {
			v.Judge = runAs(judge, t)
		}
		if before == v.Judge {
			v.Unsteady = false
			if v.Judge == v.Subject {
				break
			}
		}
	}
	return v
}

// runBoth runs a trial with both programs, one after the other. Command lines that
// repeat take seconds, so there both run at the same time.
func runBoth(t trial) (judged, subject result) {
	if t.Sink != sinkRounds {
		return runAs(judge, t), runAs(os.Getenv(subjectVar), t)
	}
	done := make(chan struct{})
	go func() {
		judged = runAs(judge, t)
		close(done)
	}()
	subject = runAs(os.Getenv(subjectVar), t)
	<-done
	judged.Stdout, subject.Stdout = common(judged.Stdout, subject.Stdout)
	judged.Stderr, subject.Stderr = common(judged.Stderr, subject.Stderr)
	return judged, subject
}

// common cuts two outputs to the same number of repetitions, since one program may
// have repeated its view more often before it was killed. It cuts only repetitions,
// and nothing if one output is empty.
func common(a, b string) (string, string) {
	n := min(len(a), len(b))
	if n == 0 || a[:n] != b[:n] {
		return a, b
	}
	return a[:n], b[:n]
}

// runAs runs a program as netstat and returns what is to be compared.
func runAs(program string, t trial) result {
	cmd := &exec.Cmd{
		Path: program,
		Args: append([]string{"netstat"}, t.Args...),
		Env:  append(testEnviron(), roleVar+"="+roleMain),
	}
	if t.UID != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: t.UID, Gid: t.UID}}
	}
	stdout, stderr, err := feed(cmd, t.Sink)
	r := result{stdout, stderr, "0"}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.Status = exit.String()
	} else if err != nil {
		r.Status = err.Error()
	}
	return r.withoutOwnTexts()
}

// feed runs a command with its output going to a sink.
func feed(cmd *exec.Cmd, to sink) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	switch to {
	case sinkMerged:
		cmd.Stderr = &out
	case sinkFull:
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			return "", "", err
		}
		defer full.Close()
		cmd.Stdout = full
	case sinkClosed:
		shell, err := exec.LookPath("bash")
		if err != nil {
			return "", "", err
		}
		cmd.Args = append([]string{"bash", "-c", `program=$1; shift; exec -a netstat "$program" "$@" >&-`, "bash", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = shell
	case sinkHead:
		return head(cmd, &errs)
	case sinkRounds:
		return rounds(cmd, &out, &errs)
	}
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// head reads one line of a command's output and closes the pipe.
func head(cmd *exec.Cmd, errs *bytes.Buffer) (stdout, stderr string, err error) {
	cmd.Stdout = nil
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", "", err
	}
	if err := cmd.Start(); err != nil {
		return "", "", err
	}
	var line []byte
	for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); line = append(line, b...) {
		if _, err := pipe.Read(b); err != nil {
			break
		}
	}
	pipe.Close()
	err = cmd.Wait()
	return string(line), errs.String(), err
}

// rounds kills a command after it has repeated its view once.
func rounds(cmd *exec.Cmd, out, errs *bytes.Buffer) (stdout, stderr string, err error) {
	if err := cmd.Start(); err != nil {
		return "", "", err
	}
	timer := time.AfterFunc(1500*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err = cmd.Wait()
	return out.String(), errs.String(), err
}

// withoutOwnTexts removes the texts that are nettrace's own and differ on purpose:
// help, version, and the usage text after a message.
func (r result) withoutOwnTexts() result {
	const own = "(own text)\n"
	if strings.HasPrefix(r.Stdout, "usage: ") {
		r.Stdout = own
		r.Stderr, _, _ = strings.Cut(r.Stderr, "    inet (DARPA Internet)")
	}
	if strings.HasPrefix(r.Stdout, "net-tools ") || strings.HasPrefix(r.Stdout, "nettrace ") {
		r.Stdout = own
	}
	if i := strings.Index("\n"+r.Stderr, "\nusage: "); i >= 0 {
		r.Stderr = r.Stderr[:i] + own
	}
	return r
}
