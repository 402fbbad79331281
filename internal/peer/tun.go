package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
)

// Net is a tun device with peers behind it.
type Net struct {
	Device string     // its name
	Local  netip.Addr // the address of the namespace's own side

	file   *os.File
	number byte

	mu    sync.Mutex // guards all that follows, and the peers
	peers map[netip.Addr]*Peer
	err   error // the first write that failed
}

// Open makes a device in a namespace, by a number below 100 that no other one there
// has. Where there is no tun device it skips the test.
func Open(t testing.TB, netns string, number int) *Net {
	t.Helper()
	n := &Net{
		Device: fmt.Sprint("tun", number), Local: netip.AddrFrom4([4]byte{10, 100 + byte(number), 0, 1}),
		number: byte(number), peers: make(map[netip.Addr]*Peer),
	}
	var err error
	testnet.In(t, netns, func() { n.file, err = openTun(n.Device, n.Local) })
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		t.Skip("needs a tun device: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.read()
	}()
	t.Cleanup(func() {
		_ = n.file.Close() // ends the reader
		<-done
		if n.err != nil {
			t.Error(n.err)
		}
	})
	return n
}

func openTun(name string, local netip.Addr) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", name, err), unix.Close(fd))
	}
	// Only now can Go's poller wait for the device (tun_chr_poll, drivers/net/tun.c).
	file := os.NewFile(uintptr(fd), "/dev/net/tun")
	for _, args := range []string{"addr add " + local.String() + "/16 dev " + name, "link set " + name + " up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("ip %s: %w: %s", args, err, out), file.Close())
		}
	}
	return file, nil
}

// read hands every segment that the namespace sends to the peer that it is for.
func (n *Net) read() {
	for {
		buf := make([]byte, 65536) // a peer may keep the segment for later
		length, err := n.file.Read(buf)
		if errors.Is(err, unix.EIO) { // the device is down
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			return
		}
		if s, ok := parse(buf[:length:length]); ok {
			n.deliver(s)
		}
	}
}

func (n *Net) deliver(s Segment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.peers[s.Dst.Addr()]; p != nil {
		p.receive(s)
	}
}

// write puts a packet on the wire. A device that is down drops it.
func (n *Net) write(packet []byte) {
	if _, err := n.file.Write(packet); err != nil && !errors.Is(err, unix.EIO) && !errors.Is(err, os.ErrClosed) && n.err == nil {
		n.err = err
	}
}
