package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
)

const recipesFile = "../../docs/recipes.md"

// recipe is a command of docs/recipes.md, and what it answers in the scene.
type recipe struct {
	command string
	netstat string         // what it stands for; empty: nothing
	act     func(*kitchen) // what happens while it runs, again and again; nil: it ends by itself
	want    string         // a regular expression, in which PROG and PID are those of the test
	theirs  string         // what netstat's pipe says of it; empty: it is not run
}

// recipes are the commands that the page must have, and no others.
var recipes = []recipe{
	{command: `sudo nettrace -c --filter 'dst 192.0.2.7' --summary=program,pid --every 10s`, act: (*kitchen).visit, want: `^ +[1-9]\d* .* PROG +PID$`},
	{command: `sudo nettrace -c --filter failed --summary=outcome,errno,remote_addr,remote_port --every 1m`, act: (*kitchen).knock, want: `^ +[1-9]\d* refused +ECONNREFUSED +192\.0\.2\.7 +9$`},
	{command: `sudo nettrace -c --events=failed`, act: (*kitchen).knock, want: ` 192\.0\.2\.7:9 +refused .*PID/PROG$`},
	{command: `sudo nettrace -c --summary='remote_addr,count,p50(latency),p99(latency),max(rtt)' --sort='-p99(latency)'`, act: (*kitchen).visit, want: `^ +[1-9]\d* +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms 192\.0\.2\.7$`},
	{command: `sudo nettrace -c --events=close --slower 200ms`, act: (*kitchen).wait, want: ` 192\.0\.2\.7:8090 .* (9\d\d(\.\d)?|[1-9]\d{3}) ms .*PID/PROG$`},
	{command: `sudo nettrace -tn --filter 'state close-wait' --summary=program,pid`, want: `^ +1 PROG +PID$`},
	{command: `nettrace -tn --filter autobound --summary=remote_addr,remote_port --top 10`, want: `^ +([5-9]|\d{2,}) 192\.0\.2\.7 +8080$`},
	{command: `nettrace -tn --filter 'state established sport = 22' --summary=remote_addr --top 10`, want: `^COUNT REMOTE_ADDR\n +3 192\.0\.2\.8\n +1 192\.0\.2\.9\n`},
	{command: `nettrace -tan --summary`, want: `^ +1 CLOSE_WAIT$`, netstat: `netstat -tan | awk 'NR > 2 {print $6}' | sort | uniq -c`, theirs: `^ +1 CLOSE_WAIT$`},
	{command: `sudo nettrace -tn --filter 'state listening' --summary=program,pid,local_addr,local_port`, want: `^ +1 PROG +PID +0\.0\.0\.0 +22$`},
	{command: `sudo nettrace -tn --filter 'state listening' --summary=container,container_name,unit,program,local_addr,local_port`, want: `^ +1 CONTAINER +- +- +PROG +0\.0\.0\.0 +22$`},
	{command: `sudo nettrace -c --events=close --filter 'dst 192.0.2.7' --fields=remote,outcome,duration_ns,owner,cmdline`, act: (*kitchen).visit, want: ` 192\.0\.2\.7:8080 .* PID/\S+ +\S*nettrace`},
	{command: `nettrace -tn --summary=remote_addr --top 10`, want: `^ +3 192\.0\.2\.8$`, netstat: `netstat -tn | awk 'NR > 2 {print $5}' | cut -d: -f1 | sort | uniq -c | sort -rn | head`, theirs: `^ +3 192\.0\.2\.8$`},
	{command: `nettrace -tan --port 8080`, want: `^tcp .* 192\.0\.2\.7:8080 +ESTABLISHED *$`, netstat: `netstat -tan | grep ':8080 '`, theirs: `^tcp .* 192\.0\.2\.7:8080 +ESTABLISHED *$`},
	{command: `nettrace -tn --state established --summary=count`, want: `^COUNT\n +18\n`, netstat: `netstat -tan | grep -c ESTABLISHED`, theirs: `^18$`},
	{command: `sudo nettrace -tlnp --port 8080`, want: ` 0\.0\.0\.0:8080 .*LISTEN +PID/PROG`, netstat: `netstat -tlnp | grep ':8080 '`, theirs: ` 0\.0\.0\.0:8080 .*LISTEN +PID/PROG`},
	{command: `sudo nettrace -tanp --pid "$PID"`, want: ` 0\.0\.0\.0:8080 .*LISTEN +PID/PROG`, netstat: `netstat -tanp | grep "$PID/"`, theirs: ` 0\.0\.0\.0:8080 .*LISTEN +PID/PROG`},
	{command: `sudo nettrace -c`, act: (*kitchen).visit, want: ` 192\.0\.2\.7:8080 +SYN_SENT -> ESTABLISHED +PID/PROG`, netstat: `netstat -tnc`},
}

// TestRecipes runs every command of the page in a scene and looks for the answer.
func TestRecipes(t *testing.T) {
	page, err := os.ReadFile(recipesFile)
	if err != nil {
		t.Fatal(err)
	}
	left := make(map[string]*recipe)
	for i := range recipes {
		left[recipes[i].command+recipes[i].netstat] = &recipes[i]
	}
	k := newKitchen(t)
	seen := make(map[string]bool)
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllSubmatch(page, -1) {
		first, command, _ := strings.Cut(string(block[1]), "\n")
		netstat, ok := strings.CutPrefix(first, "# ")
		if !ok {
			netstat, command = "", string(block[1])
		}
		command = strings.TrimSpace(command)
		r := left[command+netstat]
		if r == nil {
			r = withoutPipe(left, command, netstat)
		}
		if r == nil {
			t.Errorf("no test has this command: %s\n(netstat: %s)", command, netstat)
			continue
		}
		seen[r.command] = true
		t.Run(command, func(t *testing.T) { k.cook(t, r) })
	}
	for _, r := range recipes {
		if !seen[r.command] {
			t.Errorf("the page does not have %s", r.command)
		}
	}
	checkReadme(t, seen)
}

// checkReadme checks that the questions of README.md are answered by commands of the
// page.
func checkReadme(t *testing.T, seen map[string]bool) {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "## Three questions")
	block := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(rest)
	if block == nil {
		t.Fatal("README.md has no questions")
	}
	lines := strings.Split(strings.TrimSpace(block[1]), "\n")
	for _, line := range lines {
		if command, _, _ := strings.Cut(line, "   # "); !seen[command] {
			t.Errorf("README.md has %s, and the page has not", command)
		}
	}
	if len(lines) != 3 {
		t.Errorf("README.md has %d questions", len(lines))
	}
}

// withoutPipe returns the recipe of a command that stands on the page a second time,
// without netstat's pipe.
func withoutPipe(left map[string]*recipe, command, netstat string) *recipe {
	for _, r := range left {
		if r.command == command && netstat == "" {
			return r
		}
	}
	return nil
}

// kitchen is a network namespace with something to ask about: listeners on 22, 8080 and
// 8090, four connections to 22 from two addresses, five to 8080, and one there whose
// client has closed. All of them belong to the test.
type kitchen struct {
	t     *testing.T
	netns string
	bin   string // has programs named nettrace and sudo
	slow  int    // a listener that accepts late
	// container is the id of the one that the test is in, as far as its cgroup goes; -: none
	// could be made.
	container string
	open      []net.Conn
}

func newKitchen(t *testing.T) *kitchen {
	t.Helper()
	k := &kitchen{t: t, netns: newNetns(t), bin: t.TempDir(), container: contain(t)}
	for _, addr := range []string{"192.0.2.7/32", "192.0.2.8/32", "192.0.2.9/32"} {
		if out, err := exec.Command("ip", "-n", filepath.Base(k.netns), "addr", "add", addr, "dev", "lo").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nettrace": fmt.Sprintf("#!/bin/sh\n%s=%s exec %s \"$@\"\n", roleVar, roleMain, exe),
		"sudo":     "#!/bin/sh\nexec \"$@\"\n",
	} {
		if err := os.WriteFile(filepath.Join(k.bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	testnet.In(t, k.netns, func() { err = k.lay() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range k.open {
			_ = c.Close()
		}
		_ = unix.Close(k.slow)
	})
	return k
}

// lay makes the sockets. It runs in the namespace.
func (k *kitchen) lay() error {
	ssh, err := net.Listen("tcp4", "0.0.0.0:22")
	if err != nil {
		return err
	}
	web, err := net.Listen("tcp4", "0.0.0.0:8080")
	if err != nil {
		return err
	}
	k.t.Cleanup(func() { _, _ = ssh.Close(), web.Close() })
	for _, from := range []string{"192.0.2.8", "192.0.2.8", "192.0.2.9", "192.0.2.8"} {
		if err := k.hold(ssh, from, 22); err != nil {
			return err
		}
	}
	for range 5 {
		if err := k.hold(web, "192.0.2.7", 8080); err != nil {
			return err
		}
	}
	leak, err := dialFrom("192.0.2.7", 8080)
	if err != nil {
		return err
	}
	leaked, err := web.Accept()
	if err != nil {
		return err
	}
	k.open = append(k.open, leaked)
	go func() { // who visits is let in and out
		for {
			c, err := web.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}
	}()
	k.slow, err = listenLate()
	return errors.Join(err, leak.Close())
}

// hold opens a connection and keeps both ends.
func (k *kitchen) hold(l net.Listener, from string, port int) error {
	c, err := dialFrom(from, port)
	if err != nil {
		return err
	}
	s, err := l.Accept()
	k.open = append(k.open, c, s)
	return err
}

// dialFrom connects to 192.0.2.7, from an address and a port that the kernel chooses.
func dialFrom(from string, port int) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if from != "192.0.2.7" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	return d.Dial("tcp4", net.JoinHostPort("192.0.2.7", strconv.Itoa(port)))
}

// listenLate returns a listener on 8090 whose queue has room for one connection.
func listenLate() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return fd, errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: 8090}), unix.Listen(fd, 0))
}

// visit opens and closes a connection to 8080.
func (k *kitchen) visit() {
	testnet.In(k.t, k.netns, func() {
		c, err := dialFrom("192.0.2.7", 8080)
		if err != nil {
			k.t.Error(err)
			return
		}
		_ = c.Close()
	})
}

// knock connects to a port on which nobody listens.
func (k *kitchen) knock() {
	testnet.In(k.t, k.netns, func() {
		if c, err := dialFrom("192.0.2.7", 9); err == nil {
			_ = c.Close()
			k.t.Error("port 9 is open")
		}
	})
}

// wait connects to 8090 while its queue is full: the kernel drops the SYN, and asks
// again after a second, when there is room.
func (k *kitchen) wait() {
	testnet.In(k.t, k.netns, func() {
		first, err := dialFrom("192.0.2.7", 8090)
		if err != nil {
			k.t.Error(err)
			return
		}
		accept := func() {
			if fd, _, err := unix.Accept4(k.slow, unix.SOCK_CLOEXEC); err == nil {
				_ = unix.Close(fd)
			}
		}
		timer := time.AfterFunc(300*time.Millisecond, accept)
		second, err := dialFrom("192.0.2.7", 8090)
		timer.Stop()
		if err != nil {
			k.t.Error(err)
			return
		}
		accept()
		_, _ = first.Close(), second.Close()
	})
}

// cook runs a command as the page has it, in the namespace, and netstat's beside it.
func (k *kitchen) cook(t *testing.T, r *recipe) {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil && r.act != nil {
		t.Skip("needs a kernel with BTF: ", err)
	}
	// The text for people has the arrows of UTF-8 or not: no answer depends on that.
	out := k.run(t, r.command, r.act)
	k.check(t, r.command, r.want, out)
	if r.netstat == "" || r.theirs == "" {
		return
	}
	if _, err := exec.LookPath("netstat"); err != nil {
		t.Log("netstat's form is not compared: ", err)
		return
	}
	k.check(t, r.netstat, r.theirs, k.run(t, r.netstat, nil))
}

func (k *kitchen) check(t *testing.T, command, want, out string) {
	t.Helper()
	program := regexp.QuoteMeta(filepath.Base(os.Args[0]))
	if strings.Contains(want, "PID/PROG") { // netstat cuts it
		program = program[:min(len(program), 8)]
	}
	want = strings.NewReplacer("CONTAINER ", k.container+" ", "PROG$", program+".*$", "PROG", program, "PID", strconv.Itoa(os.Getpid())).Replace(want)
	if !regexp.MustCompile("(?m)" + want).MatchString(out) {
		t.Errorf("%s answers:\n%swant a line like %s", command, out, want)
	}
}

// run runs a command by the shell. One that goes on is interrupted once something has
// happened several times.
func (k *kitchen) run(t *testing.T, command string, act func(*kitchen)) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Env = append(os.Environ(), "PATH="+k.bin+":"+os.Getenv("PATH"), "LC_ALL=C", fmt.Sprintf("PID=%d", os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var err error
	testnet.In(t, k.netns, func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	if act != nil {
		for begin := time.Now(); time.Since(begin) < 2*time.Second; time.Sleep(50 * time.Millisecond) {
			act(k)
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // the shell's, and what it started
	}
	if err := cmd.Wait(); err != nil && act == nil {
		t.Errorf("%s: %v: %s", command, err, errs.String())
	}
	return out.String()
}
