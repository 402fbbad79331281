// Package load makes TCP connections for tests and benchmarks, at full speed and
// each one known by its destination: a server that answers every address of
// 127.64.0.0/10, and clients that walk through those addresses. The amount is
// bounded, and the server ends with its standard input.
//
// Roles run in processes of their own, started by Start from the same binary:
// the binary calls Main first thing.
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
)

// roleVar holds the words of a role in the environment of its process.
const roleVar = "NETTRACE_LOAD"

// The ports of the server, and one that nobody listens on.
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

// EndingOf gives the ending of connection n: a third each.
func EndingOf(n int) Ending { return Ending(n % int(endings)) }

// Address gives the destination of connection n, below 4,194,303.
func Address(n int) netip.Addr {
	n++
	return netip.AddrFrom4([4]byte{127, 64 + byte(n>>16), byte(n >> 8), byte(n)})
}

// Number gives the connection whose destination is a; ok is false for addresses
// that are none.
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

// Server gives the role of accepting connections until its input ends.
func Server() string { return "server" }

// Client gives the role of making connections first to first+count-1, with only
// endings of one kind unless ending is negative.
func Client(first, count int, ending Ending) string {
	return fmt.Sprintf("client %d %d %d", first, count, ending)
}

// Story gives the role of one connection of each kind, both sides in one process:
// see TestStreamStory of the command.
func Story() string { return "story" }

// Holder gives the role of opening connections first to first+count-1 to itself
// and holding them.
func Holder(first, count int) string { return fmt.Sprintf("holder %d %d", first, count) }

// Start starts a role in the network namespace of the file netns (empty: the
// current one). It returns when the role is ready to begin.
func Start(role, netns string) (*Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), roleVar+"="+role+" "+netns)
	p.cmd.Stderr = os.Stderr
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

// PID gives the process id.
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

// Kill ends the role in the middle of what it does and waits for it.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = p.cmd.Wait() // says that it was killed
	return nil
}

// Main plays the role that this process was started for and exits, or returns
// at once when it was not started by Start.
func Main() {
	role := os.Getenv(roleVar)
	if role == "" {
		return
	}
	runtime.LockOSThread() // of the network namespace, and to be quick
	if err := play(strings.Split(role, " ")); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func play(words []string) error {
	netns := words[len(words)-1]
	if netns != "" {
		fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", netns, err)
		}
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", netns, err)
		}
	}
	switch words[0] {
	case "server":
		return serve()
	case "story":
		return asClient(tellStory)
	case "hold":
		return hold()
	case "churn":
		seed, err1 := strconv.ParseUint(words[1], 10, 64)
		d, err2 := strconv.ParseInt(words[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		return asClient(func() error { return playChurn(seed, time.Duration(d)) })
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

// serve accepts one connection after the other and closes it when the client has.
func serve() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: Port}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 65535); err != nil {
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

// asClient runs f between "go" and "done", and stays until the input ends.
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

// holdAll connects to a listener of its own and accepts, and leaves all open.
func holdAll(first, count int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{}), unix.Listen(fd, 16)); err != nil {
		return err
	}
	port, err := localPort(fd)
	if err != nil {
		return err
	}
	for n := first; n < first+count; n++ {
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(client, &unix.SockaddrInet4{Port: port, Addr: Address(n).As4()}); err != nil {
			return err
		}
		if _, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC); err != nil {
			return err
		}
	}
	return nil
}

func connect(n int, ending Ending) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Port: Port, Addr: Address(n).As4()}
	if ending == Refused {
		to.Port = ClosedPort
		if err := unix.Connect(fd, to); !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("connect to a closed port: %w", err)
		}
		return nil
	}
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	if ending == RST {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	return nil
}
