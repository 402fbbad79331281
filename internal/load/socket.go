package load

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// familyOf returns the address family of an address.
func familyOf(a unix.Sockaddr) int {
	if _, ipv6 := a.(*unix.SockaddrInet6); ipv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// stream opens a TCP socket whose calls block.
func stream(family int) (int, error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

// listenAt opens a listener; port 0 lets the kernel choose.
func listenAt(a unix.Sockaddr, backlog int) (int, error) {
	fd, err := stream(familyOf(a))
	if err != nil {
		return -1, err
	}
	return fd, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, a), unix.Listen(fd, backlog))
}

// connectTo opens a connection.
func connectTo(a unix.Sockaddr) (int, error) {
	fd, err := stream(familyOf(a))
	if err != nil {
		return -1, err
	}
	return fd, unix.Connect(fd, a)
}

// connectRefused connects to a port that nobody listens on.
func connectRefused(to [4]byte) error {
	fd, err := connectTo(&unix.SockaddrInet4{Port: ClosedPort, Addr: to})
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connect to a closed port: %w", err)
	}
	return unix.Close(fd)
}

// localPort returns the port that a socket is bound to.
func localPort(fd int) (int, error) {
	a, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return a.Port, nil
	case *unix.SockaddrInet6:
		return a.Port, nil
	}
	return 0, fmt.Errorf("a socket name of type %T", a)
}
