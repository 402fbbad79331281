package load

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// storySteps are what becomes of a connection once both ends are there; nil: nobody
// listens.
var storySteps = []func(client, server int) error{
	func(client, server int) error { // the client closes first
		return errors.Join(unix.Close(client), untilEOF(server), unix.Close(server))
	},
	func(client, server int) error { // the server does
		return errors.Join(unix.Close(server), untilEOF(client), unix.Close(client))
	},
	func(client, server int) error { // the client resets
		linger := unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		return errors.Join(linger, unix.Close(client), untilReset(server), unix.Close(server))
	},
	nil, // nobody listens
	func(client, server int) error { // the client closes its half and reads on
		if err := errors.Join(unix.Shutdown(client, unix.SHUT_WR), untilEOF(server)); err != nil {
			return err
		}
		_, err := unix.Write(server, []byte("x"))
		return errors.Join(err, unix.Close(server), untilEOF(client), unix.Close(client))
	},
}

// playStory makes one connection of each kind. Each step waits for the other
// side, so that there is only one possible order of states.
func playStory() error {
	v4, err := listenAt(&unix.SockaddrInet4{Port: Port}, 16)
	if err != nil {
		return err
	}
	for i, step := range storySteps {
		to := [4]byte{127, 0, 0, byte(i + 1)}
		if step == nil {
			err = connectRefused(to)
		} else {
			err = playStep(v4, &unix.SockaddrInet4{Port: Port, Addr: to}, step)
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	if err := unix.Close(v4); err != nil {
		return err
	}
	return storyIPv6(storySteps[0])
}

func storyIPv6(step func(client, server int) error) error {
	to := &unix.SockaddrInet6{Port: Port, Addr: [16]byte{15: 1}}
	v6, err := listenAt(to, 16)
	if err != nil {
		return err
	}
	defer unix.Close(v6)
	return playStep(v6, to, step)
}

func playStep(listener int, to unix.Sockaddr, step func(client, server int) error) error {
	client, err := connectTo(to)
	if err != nil {
		return err
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	return step(client, server)
}

// untilEOF reads until the peer's FIN.
func untilEOF(fd int) error {
	buf := make([]byte, 16)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n == 0 && err == nil {
			return nil
		}
	}
}

// untilReset reads until the peer's RST.
func untilReset(fd int) error {
	if err := untilEOF(fd); !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("read from a reset connection: %w", err)
	}
	return nil
}
