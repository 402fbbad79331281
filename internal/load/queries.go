package load

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// QueryPort is where the server of Queries answers.
const QueryPort = 7053

// Queries returns the role that asks a server of its own count times, as a resolver does:
// each time by a socket of its own, every other one connected.
func Queries(count int) string { return fmt.Sprintf("queries %d", count) }

func playQueries(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	server, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	at := &unix.SockaddrInet4{Port: QueryPort, Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Bind(server, at); err != nil {
		return err
	}
	go answer(server)
	return asClient(func() error {
		for i := range n {
			if err := query(at, i%2 == 0); err != nil {
				return fmt.Errorf("query %d: %w", i, err)
			}
		}
		return nil
	})
}

// answer sends back what comes.
func answer(server int) {
	buf := make([]byte, 512)
	for {
		n, from, err := unix.Recvfrom(server, buf, 0)
		if err == nil {
			err = unix.Sendto(server, buf[:n], 0, from)
		}
		if err != nil {
			return // the client says what is missing
		}
	}
}

// query asks once and takes the answer.
func query(at *unix.SockaddrInet4, connect bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf := make([]byte, 64)
	if connect {
		if err := unix.Connect(fd, at); err != nil {
			return err
		}
		_, err = unix.Write(fd, buf)
	} else {
		err = unix.Sendto(fd, buf, 0, at)
	}
	if err != nil {
		return err
	}
	_, _, err = unix.Recvfrom(fd, buf, 0)
	return err
}
