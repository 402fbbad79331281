package load

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unixConnectName is the abstract name of the server, with its NUL.
const unixConnectName = "\x00nettrace.connects"

// UnixServer returns the role that accepts count Unix connections one after the other,
// reads each to its end and closes it. It writes a line for each to the file "accepted" of
// dir: the inode of its socket, and the process that connected, as SO_PEERCRED says it.
func UnixServer(count int, dir string) string { return fmt.Sprintf("unixserver %d 0 %s", count, dir) }

// UnixClients returns the role that has count processes connect to it, each of which ends
// at once, without a close().
func UnixClients(count int) string { return fmt.Sprintf("unixclients %d 0", count) }

// serveUnix plays the server. It listens before it is ready.
func serveUnix(count int, dir string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + unixConnectName[1:]}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 1024); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "accepted"))
	if err != nil {
		return err
	}
	lines := bufio.NewWriter(f)
	return asClient(func() error {
		for range count {
			if err := acceptUnix(fd, lines); err != nil {
				return err
			}
		}
		if err := lines.Flush(); err != nil {
			return err
		}
		return f.Close()
	})
}

func acceptUnix(listener int, lines io.Writer) error {
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	defer unix.Close(fd)
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if _, err := unix.Read(fd, make([]byte, 1)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(lines, st.Ino, peer.Pid)
	return err
}

// unixClientsAtOnce is how many processes are under way.
const unixClientsAtOnce = 16

func connectUnixClients(count int) error {
	address := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	for i := range len(unixConnectName) {
		address.Path[i] = int8(unixConnectName[i])
	}
	for n := range count {
		if n >= unixClientsAtOnce {
			if err := waitUnixClient(); err != nil {
				return err
			}
		}
		pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return fmt.Errorf("fork: %w", errno)
		}
		if pid == 0 {
			unixClient(&address, uintptr(2+len(unixConnectName)))
		}
	}
	for range min(count, unixClientsAtOnce) {
		if err := waitUnixClient(); err != nil {
			return err
		}
	}
	return nil
}

// unixClient is all that a process does: it has one thread of a Go program, and must not
// need any other.
//
//go:nosplit
//go:norace
func unixClient(address *unix.RawSockaddrUnix, size uintptr) {
	fd, _, errno := syscall.RawSyscall(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if errno == 0 {
		_, _, errno = syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(address)), size)
	}
	for {
		_, _, errno = syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}

// waitUnixClient waits for the end of one.
func waitUnixClient() error {
	var status unix.WaitStatus
	if _, err := unix.Wait4(-1, &status, 0, nil); err != nil {
		return fmt.Errorf("wait for a client: %w", err)
	}
	if code := status.ExitStatus(); code != 0 {
		return fmt.Errorf("a client failed: %w", unix.Errno(code))
	}
	return nil
}
