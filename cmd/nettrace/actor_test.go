package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
)

// An actor is a process of its own, this binary started again, that does with
// sockets what the test asks it to, and says what /proc shows of it meanwhile: the
// judge of what is reported of its calls.

const (
	actorVar      = "NETTRACE_TEST_ACTOR"
	actorActs     = "acts"
	actorNests    = "nests" // starts the actor in namespaces of its own
	mptcpProtocol = 262     // IPPROTO_MPTCP, include/uapi/linux/in.h
)

// order is what an actor is asked to do.
type order struct {
	Do        string
	Port      uint16
	FD        int
	Addr      string
	Device    string   // SO_BINDTODEVICE
	ReusePort bool     // SO_REUSEPORT
	MPTCP     bool     // an MPTCP socket
	Name      string   // of the thread, at most 15 bytes
	Title     string   // written over the command line
	Argv      []string // of a program
}

// answer is what came of it.
type answer struct {
	Error   string
	Missing bool     // the kernel does not have it
	FD      int      // of the socket that was made
	Local   uint16   // its port
	Peers   []uint16 // ports of those accepted
	FDs     []int    // and their descriptors
	Self    portrait
}

// portrait is what /proc shows of a process, to itself.
type portrait struct {
	PID     int
	Comm    string
	Cmdline string
	Exe     string
}

func init() {
	if os.Getenv(actorVar) == "" {
		return
	}
	runtime.LockOSThread() // of the thread-group leader, whose name is that of the process
	if os.Getenv(actorVar) == actorNests {
		if err := startNested(); err != nil {
			fmt.Fprintln(os.Stderr, "actor:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := act(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "actor:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// act follows orders, one JSON object a line, until they end.
func act(in io.Reader, out io.Writer) error {
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		if err := o.follow(&a); err != nil {
			a.Error = err.Error()
			a.Missing = errors.Is(err, unix.EPROTONOSUPPORT)
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

func (o *order) follow(a *answer) error {
	defer func() { a.Self = ownPortrait() }()
	switch o.Do {
	case "":
		return nil
	case "mount":
		return mountOwnProc()
	case "listen":
		return o.listen(a)
	case "connect":
		return o.connect(a)
	case "accept":
		return o.accept(a)
	case "close":
		return unix.Close(o.FD)
	case "rename":
		return o.rename()
	case "hand":
		return o.hand()
	case "exec":
		if err := o.connect(a); err != nil {
			return err
		}
		return unix.Exec(o.Argv[0], o.Argv, nil)
	case "recycle":
		return o.recycle(a)
	}
	return fmt.Errorf("no such order: %s", o.Do)
}

// startNested starts an actor as the first process of a pid namespace below its own,
// which only a process that is in that one can do (copy_pid_ns, kernel/pid_namespace.c).
func startNested() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Env = append(os.Environ(), actorVar+"="+actorActs)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	return cmd.Run()
}

func ownPortrait() portrait {
	comm, _ := os.ReadFile("/proc/self/comm") // a wrong portrait fails the test
	cmdline, _ := os.ReadFile("/proc/self/cmdline")
	exe, _ := os.Readlink("/proc/self/exe")
	return portrait{
		PID:     os.Getpid(),
		Comm:    strings.TrimSuffix(string(comm), "\n"),
		Cmdline: strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " "),
		Exe:     exe,
	}
}

// mountOwnProc gives a new mount namespace the /proc of its pid namespace.
func mountOwnProc() error {
	return errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""),
	)
}

func (o *order) socket() (int, error) {
	protocol := 0
	if o.MPTCP {
		protocol = mptcpProtocol
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if o.ReusePort {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if o.Device != "" {
		err = errors.Join(err, unix.BindToDevice(fd, o.Device))
	}
	return fd, err
}

func (o *order) listen(a *answer) error {
	fd, err := o.socket()
	if err != nil {
		return err
	}
	a.FD = fd
	return errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: int(o.Port)}), unix.Listen(fd, 256))
}

func (o *order) connect(a *answer) error {
	fd, err := o.socket()
	if err != nil {
		return err
	}
	a.FD = fd
	addr := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if o.Addr != "" {
		if addr, err = netip.ParseAddr(o.Addr); err != nil {
			return err
		}
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(o.Port), Addr: addr.As4()})
	if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connect: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	a.Local = uint16(name.(*unix.SockaddrInet4).Port)
	return nil
}

// accept takes all that is in the queue of a listener.
func (o *order) accept(a *answer) error {
	if err := unix.SetNonblock(o.FD, true); err != nil {
		return err
	}
	for {
		fd, from, err := unix.Accept4(o.FD, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		a.FDs = append(a.FDs, fd)
		a.Peers = append(a.Peers, uint16(from.(*unix.SockaddrInet4).Port))
	}
}

// rename gives the process another name and writes a title over its command line,
// as setproctitle(3) does: over the environment too, which lies behind.
func (o *order) rename() error {
	if err := os.WriteFile("/proc/self/comm", []byte(o.Name), 0); err != nil {
		return err
	}
	if o.Title == "" {
		return nil
	}
	room := 0
	for _, arg := range os.Args {
		room += len(arg) + 1
	}
	area := unsafe.Slice(unsafe.StringData(os.Args[0]), max(room, len(o.Title)+1))
	clear(area)
	copy(area, o.Title)
	return nil
}

// hand gives a socket to a program that holds it a while, and closes it here.
func (o *order) hand() error {
	cmd := exec.Command(o.Argv[0], o.Argv[1:]...)
	f := os.NewFile(uintptr(o.FD), "socket")
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		return err
	}
	return errors.Join(f.Close(), cmd.Wait())
}

// recycle runs an actor that has the number that Name says in the pid namespace of this
// one, is called Title, makes the connections to the addresses of Argv, and ends.
func (o *order) recycle(a *answer) error {
	number, err := strconv.Atoi(o.Name)
	if err != nil {
		return err
	}
	// The next process gets the next free number, proc_sys_kernel(5).
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(number-1)), 0); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	var orders bytes.Buffer
	write := json.NewEncoder(&orders)
	if err := write.Encode(order{Do: "rename", Name: o.Title}); err != nil {
		return err
	}
	for _, addr := range o.Argv {
		if err := write.Encode(order{Do: "connect", Addr: addr, Port: o.Port}); err != nil {
			return err
		}
	}
	cmd := exec.Command(exe)
	cmd.Stdin, cmd.Stderr = &orders, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	lines := json.NewDecoder(bytes.NewReader(out))
	for lines.More() {
		var one answer
		if err := lines.Decode(&one); err != nil {
			return err
		}
		if one.Error != "" {
			return errors.New(one.Error)
		}
		a.FD = one.Self.PID
	}
	return nil
}

// place is where a process is started: in the network namespace of a file and in
// the pid and mount namespaces of a process; none: those of the test.
type place struct {
	netns     string
	container *actor
}

// start starts a command there.
func (p place) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Dir = "/"
	var err error
	testnet.In(t, p.netns, func() {
		if p.container != nil {
			if err = enterContainer(p.container.pid); err != nil {
				return
			}
		}
		err = cmd.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// enterContainer moves this thread to the mount namespace of a process, and the
// children that it starts from now on to the pid namespace.
func enterContainer(pid int) error {
	root := fmt.Sprintf("/proc/%d/ns/", pid)
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for _, name := range []string{"pid", "mnt"} {
		fd, err := unix.Open(root+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	return errors.Join(
		unix.Unshare(unix.CLONE_FS), // a thread that shares its root with others may not leave
		unix.Setns(fds[0], unix.CLONE_NEWPID),
		unix.Setns(fds[1], unix.CLONE_NEWNS),
	)
}

// actor is the test's end of an actor.
type actor struct {
	t       *testing.T
	cmd     *exec.Cmd
	pid     int // where the test runs
	orders  *json.Encoder
	answers *json.Decoder
	stdin   io.Closer
}

// newActor starts an actor in a role, with open files from descriptor 3 on. It ends
// with the test.
func (p place) newActor(t *testing.T, role string, uid uint32, files ...*os.File) *actor {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if uid != 0 { // who may not reach the directory of the test binary
		exe = copyForAll(t, exe)
	}
	a := &actor{t: t, cmd: exec.Command(exe, strings.Repeat("x", 80))}
	a.cmd.Env = []string{actorVar + "=" + role, "PAD=" + strings.Repeat("x", 400)}
	a.cmd.Stderr, a.cmd.ExtraFiles = os.Stderr, files
	if uid != 0 {
		a.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	stdin, err := a.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.orders, a.answers, a.stdin = json.NewEncoder(stdin), json.NewDecoder(bufio.NewReader(stdout)), stdin
	p.start(t, a.cmd)
	a.pid = a.cmd.Process.Pid
	t.Cleanup(a.end)
	return a
}

// actor starts an actor of the test's own user.
func (p place) actor(t *testing.T) *actor {
	t.Helper()
	return p.newActor(t, actorActs, 0)
}

// nest starts the first process of a pid namespace below that of the place.
func (p place) nest(t *testing.T) place {
	t.Helper()
	inside := p.nestBare(t)
	inside.container.do(order{Do: "mount"})
	return inside
}

// nestBare does so without a /proc of its own.
func (p place) nestBare(t *testing.T) place {
	t.Helper()
	a := p.newActor(t, actorNests, 0)
	a.do(order{}) // it is there when it answers
	a.pid = childOf(t, a.pid)
	return place{p.netns, a}
}

// childOf gives the child of a process that has one.
func childOf(t *testing.T, parent int) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(b), fmt.Sprintf("\nPPid:\t%d\n", parent)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("process %d has no child", parent)
	return 0
}

// end ends the actor: what it holds is closed. To be called again does nothing.
func (a *actor) end() {
	_ = a.stdin.Close() // it may be closed
	_ = a.cmd.Wait()    // or waited for
}

// do has the actor follow an order.
func (a *actor) do(o order) answer {
	a.t.Helper()
	got := a.try(o)
	if got.Error != "" {
		a.t.Fatalf("%+v: %s", o, got.Error)
	}
	return got
}

// try is do for an order that may fail.
func (a *actor) try(o order) (got answer) {
	a.t.Helper()
	a.send(o)
	if err := a.answers.Decode(&got); err != nil {
		a.t.Fatalf("%+v: %v", o, err)
	}
	return got
}

// send gives an order that is not answered: the actor becomes another program.
func (a *actor) send(o order) {
	a.t.Helper()
	if err := a.orders.Encode(o); err != nil {
		a.t.Fatalf("%+v: %v", o, err)
	}
}

// nsNumbers gives the numbers of a process in its pid namespaces, the outermost
// first (NSpid, proc_pid_status(5)).
func nsNumbers(t *testing.T, pid int) []int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for line := range strings.Lines(string(b)) {
		if list, ok := strings.CutPrefix(line, "NSpid:"); ok {
			for _, field := range strings.Fields(list) {
				n, err := strconv.Atoi(field)
				if err != nil {
					t.Fatal(err)
				}
				numbers = append(numbers, n)
			}
		}
	}
	return numbers
}

// claim is what a record says of whose a socket is.
type claim struct {
	record
	TID   int    `json:"tid"`
	UID   *int   `json:"uid"`
	User  string `json:"user"`
	Exe   string `json:"exe"`
	Netns uint64 `json:"netns"`
}

// trace starts a nettrace there and waits until it has the full picture.
func (p place) trace(t *testing.T, args ...string) *tracing {
	t.Helper()
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil && !inMachine {
		t.Skip("needs a kernel with BTF: ", err)
	}
	tr := &tracing{t: t, counts: make(map[string]int), path: filepath.Join(t.TempDir(), "records")}
	out, err := os.Create(tr.path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tr.cmd = exec.Command(exe, append([]string{"--json", "-acp", "--require-bpf", "--interval", "1h"}, args...)...)
	tr.cmd.Env = append(os.Environ(), roleVar+"="+roleMain)
	tr.cmd.Stdout, tr.cmd.Stderr = out, &tr.stderr
	p.start(t, tr.cmd)
	t.Cleanup(func() { // ends it when the test failed before stop
		_ = tr.cmd.Process.Kill()
		_ = tr.cmd.Wait()
	})
	tr.wait("snapshot_end", 1)
	return tr
}

// claims ends nettrace and gives what it says of the sockets of a network namespace.
func (tr *tracing) claims(netns string) []claim {
	tr.t.Helper()
	tr.settle()
	tr.stop()
	var st unix.Stat_t
	if err := unix.Stat(netns, &st); err != nil {
		tr.t.Fatal(err)
	}
	b, err := os.ReadFile(tr.path)
	if err != nil {
		tr.t.Fatal(err)
	}
	var all []claim
	for line := range bytes.Lines(b) {
		var c claim
		if err := json.Unmarshal(line, &c); err != nil {
			tr.t.Fatalf("%v: %s", err, line)
		}
		if c.ConnID != "" && c.Netns == st.Ino {
			all = append(all, c)
		}
	}
	return all
}

// problems reports the first few of many errors of one kind.
type problems struct {
	t *testing.T
	n int
}

func (p *problems) add(format string, args ...any) {
	p.t.Helper()
	if p.n++; p.n <= 10 {
		p.t.Errorf(format, args...)
	}
}

// settle waits until a tracer that nobody tells who accepts has looked for it. In the
// machines a hook tells it: once nothing more is written, all is known.
func (tr *tracing) settle() {
	tr.t.Helper()
	const pause = 1500 * time.Millisecond
	before := tr.size()
	for range 5 { // other namespaces may never be quiet
		time.Sleep(pause)
		now := tr.size()
		if !inMachine || now == before {
			return
		}
		before = now
	}
}
