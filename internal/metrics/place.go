package metrics

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nettrace/nettrace/internal/option"
)

// Place is where metrics are asked for. The zero value is nowhere.
type Place struct {
	Network string // tcp or unix; empty: nowhere
	Address string
}

const loopback = "127.0.0.1"

// parsePlace reads [HOST]:PORT, PORT or unix:PATH. Without a host it is loopback.
func parsePlace(text string) (Place, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if path == "" {
			return Place{}, errors.New("'unix:' needs the path of a socket, as in unix:/run/nettrace/metrics.sock")
		}
		return Place{"unix", path}, nil
	}
	if _, err := strconv.ParseUint(text, 10, 16); err == nil {
		text = ":" + text
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Place{}, fmt.Errorf("it takes HOST:PORT, :PORT or unix:PATH, not '%s'", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return Place{}, fmt.Errorf("'%s' is no port: it takes 1 to 65535", port)
	}
	if host == "" {
		host = loopback
	}
	return Place{"tcp", net.JoinHostPort(host, port)}, nil
}

func (p Place) String() string {
	if p.Network == "unix" {
		return "unix:" + p.Address
	}
	return p.Address
}

// listen opens the place. A socket that nobody listens on any more is replaced.
func (p Place) listen() (net.Listener, error) {
	l, err := net.Listen(p.Network, p.Address)
	if p.Network == "unix" && errors.Is(err, syscall.EADDRINUSE) {
		if err = p.removeStale(); err == nil {
			l, err = net.Listen(p.Network, p.Address)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("--metrics %v: %w", p, explain(err))
	}
	return l, nil
}

// dialTimeout is how long a socket that is there may take to say whether it is used.
const dialTimeout = time.Second

// removeStale removes the socket of a process that is gone.
func (p Place) removeStale() error {
	st, err := os.Lstat(p.Address)
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is no socket; name another path")
	}
	c, err := net.DialTimeout(p.Network, p.Address, dialTimeout)
	if err == nil {
		_ = c.Close() // nothing was written
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return syscall.EADDRINUSE
	}
	return os.Remove(p.Address)
}

// explain says what to do about an error of listening.
func explain(err error) error {
	for _, known := range []struct {
		is   error
		hint string
	}{
		{syscall.EADDRINUSE, "another process listens there; name another port or path"},
		{syscall.EACCES, "a port below 1024 needs CAP_NET_BIND_SERVICE, a socket a directory that may be written"},
		{syscall.EADDRNOTAVAIL, "this machine does not have the address"},
		{syscall.ENOENT, "the directory is not there; make it first"},
	} {
		if errors.Is(err, known.is) {
			return fmt.Errorf("%w (%s)", known.is, known.hint)
		}
	}
	return err
}

// Set reads a place, as the command line has it.
func (p *Place) Set(text string) error {
	place, err := parsePlace(text)
	if err != nil {
		return option.Errorf("option '--metrics': %v", err)
	}
	*p = place
	return nil
}

// Given reports whether it is a place at all.
func (p Place) Given() bool { return p.Network != "" }
