// Package load makes TCP connections for tests and benchmarks at full speed. A
// server answers on every address of 127.64.0.0/10, and clients connect to one
// address after the other, so the destination identifies a connection. Clients
// make a bounded number of connections; the server ends when its standard input
// does.
//
// A role, such as server or client, runs in a process of its own. Start starts it
// from the same binary, which must call Main before anything else.
package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/netns"
)

// roleVar holds the words of a role in the environment of its process.
const roleVar = "NETTRACE_LOAD"

// The server's port, and a port that nobody listens on.
const (
	Port       = 7000
	ClosedPort = 7001
)

// Ending is how a connection of the load ends.
type Ending int

// The endings.
const (
	FIN     Ending = iota // the client closes, then the server
	RST                   // the client resets
	Refused               // there is no listener
	endings
)

// EndingOf returns the ending of connection n. Each ending has a third of them.
func EndingOf(n int) Ending { return Ending(n % int(endings)) }

// Address returns the destination of connection n. n must be below 4,194,303.
func Address(n int) netip.Addr {
	n++
	return netip.AddrFrom4([4]byte{127, 64 + byte(n>>16), byte(n >> 8), byte(n)})
}

// Number returns the connection whose destination is a. ok is false if a is no
// destination of the load.
func Number(a netip.Addr) (n int, ok bool) {
	if a = a.Unmap(); !a.Is4() {
		return 0, false
	}
	b := a.As4()
	n = int(b[1]-64)<<16 | int(b[2])<<8 | int(b[3])
	return n - 1, b[0] == 127 && b[1] >= 64 && b[1] < 128 && n > 0
}

// Process is a running role.
type Process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Reader
}

// Server returns the role that accepts connections until its input ends.
func Server() string { return "server" }

// Client returns the role that makes connections first to first+count-1. All end
// as ending says, or in all ways in turn if it is negative.
func Client(first, count int, ending Ending) string {
	return fmt.Sprintf("client %d %d %d", first, count, ending)
}

// Story returns the role that makes one connection of each kind, with both sides
// in one process. TestStreamStory in cmd/nettrace lists what must be reported.
func Story() string { return "story" }

// Holder returns the role that opens connections first to first+count-1 to itself
// and keeps them open.
func Holder(first, count int) string { return fmt.Sprintf("holder %d %d", first, count) }

// Start starts a role in the network namespace of the file path (empty: the
// current one). It returns when the role is ready to begin.
func Start(role, path string) (*Process, error) {
	return startRole(role + " " + path)
}

// startRole starts a role that inherits files. The last word of the role is the
// path of its namespace.
func startRole(role string, files ...*os.File) (*Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), roleVar+"="+role)
	p.cmd.Stderr = os.Stderr
	p.cmd.ExtraFiles = files
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.lines = bufio.NewReader(out)
	if err := p.expect("ready"); err != nil {
		return nil, err
	}
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Go lets a client begin.
func (p *Process) Go() error {
	_, err := io.WriteString(p.stdin, "go\n")
	return err
}

// Done waits until a client has made its connections. Its process stays, with
// nothing open, until Stop.
func (p *Process) Done() error { return p.expect("done") }

func (p *Process) expect(word string) error {
	line, err := p.lines.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != word {
		return errors.Join(fmt.Errorf("load: %q instead of %q: %w", line, word, err), p.Stop())
	}
	return nil
}

// Stop ends the role and waits for it.
func (p *Process) Stop() error {
	return errors.Join(p.stdin.Close(), p.cmd.Wait())
}

// Kill kills the role in the middle of its work and waits for it.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = p.cmd.Wait() // says that it was killed
	return nil
}

// Main plays the role that Start started this process for, and exits. It returns
// at once if the process was not started by Start.
func Main() {
	role := os.Getenv(roleVar)
	if role == "" {
		return
	}
	runtime.LockOSThread() // setns acts on the thread; staying on it is also faster
	if err := play(strings.Split(role, " ")); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func play(words []string) error {
	if path := words[len(words)-1]; path != "" {
		if err := netns.Enter(path); err != nil {
			return err
		}
	}
	switch words[0] {
	case "server":
		return serve()
	case "story":
		return asClient(playStory)
	case "hold":
		return hold()
	case "queries":
		return playQueries(words[1], words[2])
	case "unixserver":
		count, err := strconv.Atoi(words[1])
		if err != nil {
			return err
		}
		return serveUnix(count, words[3])
	case "churn", "datagrams", "unix", "unixclients", "workers", "worker":
		number, err1 := strconv.ParseUint(words[1], 10, 64)
		d, err2 := strconv.ParseInt(words[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		return asClient(func() error { return playFor(words, number, time.Duration(d)) })
	}
	first, err1 := strconv.Atoi(words[1])
	count, err2 := strconv.Atoi(words[2])
	if words[0] == "holder" {
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		return asClient(func() error { return holdAll(first, count) })
	}
	ending, err3 := strconv.Atoi(words[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	return asClient(func() error { return connectAll(first, count, Ending(ending)) })
}

// playFor plays a role that ends after d.
func playFor(words []string, number uint64, d time.Duration) error {
	switch words[0] {
	case "unix":
		return playUnix(number, d, words[3])
	case "unixclients":
		return connectUnixClients(int(number))
	case "workers":
		return playWorkers(int(number), d)
	case "worker":
		return playWorker(number, d)
	case "datagrams":
		return playDatagrams(number, d)
	}
	return playChurn(number, d)
}

// serve accepts one connection after the other, and closes each one after the
// client has.
func serve() error {
	fd, err := listenAt(&unix.SockaddrInet4{Port: Port}, 65535)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // the kernel closes the listener
	}()
	fmt.Println("ready")
	buf := make([]byte, 16)
	for {
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
			continue
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		for {
			n, err := unix.Read(conn, buf)
			if n > 0 || errors.Is(err, unix.EINTR) {
				continue
			}
			break // the client closed or reset
		}
		if err := unix.Close(conn); err != nil {
			return err
		}
	}
}

// asClient waits for "go", runs f, prints "done" and waits for the end of the input.
func asClient(f func() error) error {
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	fmt.Println("done")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func connectAll(first, count int, only Ending) error {
	for n := first; n < first+count; n++ {
		ending := only
		if only < 0 {
			ending = EndingOf(n)
		}
		if err := connect(n, ending); err != nil {
			return fmt.Errorf("connection %d to %v: %w", n, Address(n), err)
		}
	}
	return nil
}

// holdAll connects to a listener of its own, accepts, and leaves both ends open.
func holdAll(first, count int) error {
	fd, err := listenAt(&unix.SockaddrInet4{}, 16)
	if err != nil {
		return err
	}
	port, err := localPort(fd)
	if err != nil {
		return err
	}
	for n := first; n < first+count; n++ {
		if _, err := connectTo(&unix.SockaddrInet4{Port: port, Addr: Address(n).As4()}); err != nil {
			return err
		}
		if _, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC); err != nil {
			return err
		}
	}
	return nil
}

func connect(n int, ending Ending) error {
	if ending == Refused {
		return connectRefused(Address(n).As4())
	}
	fd, err := connectTo(&unix.SockaddrInet4{Port: Port, Addr: Address(n).As4()})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if ending == RST {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	return nil
}
