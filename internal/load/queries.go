package load

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/netns"
)

// QueryPort is where the server of Queries answers.
const QueryPort = 7053

// Queries returns the role that asks a server of its own count times, as a resolver does:
// each time by a socket of its own, every other one connected.
func Queries(count int) string { return QueriesAt(count, 0) }

// QueriesAt is Queries at a rate a second, by several who ask at the same time: one that
// waits for each answer does not reach any rate. With 0 one asks as fast as it can.
func QueriesAt(count, rate int) string { return fmt.Sprintf("queries %d %d", count, rate) }

// askers is how many ask at a rate.
const askers = 4

func playQueries(count, rate string) error {
	n, err1 := strconv.Atoi(count)
	perSecond, err2 := strconv.Atoi(rate)
	if err := errors.Join(err1, err2); err != nil {
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
		if perSecond <= 0 {
			return ask(*at, 0, 1, n, 0)
		}
		return askTogether(at, n, perSecond)
	})
}

// askTogether has all askers ask, each on a thread of its own, in the network namespace of
// this one.
func askTogether(at *unix.SockaddrInet4, n, perSecond int) error {
	namespace, err := os.Open(netns.Current)
	if err != nil {
		return err
	}
	defer namespace.Close()
	failed := make(chan error, askers)
	for first := range askers {
		go func() {
			runtime.LockOSThread()
			if err := netns.EnterFD(int(namespace.Fd())); err != nil {
				failed <- err
				return
			}
			failed <- ask(*at, first, askers, n, perSecond)
		}()
	}
	var errs []error
	for range askers {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// ask makes every step-th of n queries, from the first on, at the rate of all of them.
func ask(at unix.SockaddrInet4, first, step, n, perSecond int) error {
	start := time.Now()
	for i := first; i < n; i += step {
		pace(start, i, perSecond)
		if err := query(&at, i/step%2 == 0); err != nil {
			return fmt.Errorf("query %d: %w", i, err)
		}
	}
	return nil
}

// pace waits until it is time for a query. Sleeping takes longer than a query: several
// that are due are made at once.
func pace(start time.Time, query, perSecond int) {
	const least = 200 * time.Microsecond
	if perSecond <= 0 {
		return
	}
	due := start.Add(time.Duration(query) * time.Second / time.Duration(perSecond))
	if ahead := time.Until(due); ahead > least {
		time.Sleep(ahead)
	}
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
