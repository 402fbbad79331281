package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ssScene is the scene in which filters are compared with ss: sockets of every state,
// family, mark, device and cgroup, each with a name. Sockets of one connection are Xc,
// the client's, and Xs, the accepted one.
type ssScene struct {
	ids    map[string]string // what a table shows of a socket, by its name
	fds    []int
	cgroup string // directory of the cgroup ntflt
	home   string // of the cgroup that the process came from
	err    error

	listeners map[string]int
	waited    time.Time // when the TIME_WAIT sockets were made
}

// setScene makes the network, files of names and all sockets.
func setScene() (*ssScene, error) {
	s := &ssScene{ids: map[string]string{}, listeners: map[string]int{}}
	for _, set := range []func() error{s.network, s.names, s.makeCgroup, s.listen, s.connections, s.halfOpen, s.closing, s.datagrams, s.timeWaits} {
		if err := set(); err != nil {
			return s, err
		}
		if s.err != nil {
			return s, s.err
		}
	}
	return s, nil
}

// end leaves nothing behind that is not the process's own.
func (s *ssScene) end() {
	for _, fd := range s.fds {
		unix.Close(fd)
	}
	if s.cgroup != "" {
		for range 50 { // a cgroup stays busy for a moment
			if os.Remove(s.cgroup) == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (s *ssScene) network() error {
	for _, line := range []string{
		"link set lo up",
		"addr add 10.0.0.1/24 dev lo",
		"addr add 10.0.0.2/24 dev lo",
		"addr add 10.9.0.1/24 dev lo",
		"addr add 2001:db8::1/64 dev lo nodad",
		"addr add 2001:db8::2/64 dev lo nodad",
		"link add eth9 type veth peer name eth9peer",
		"addr add 198.51.100.1/24 dev eth9",
		"link set eth9 addrgenmode none",
		"addr add fe80::1/64 dev eth9 nodad",
		"link set eth9 up",
		"link set eth9peer up",
		"neigh add 198.51.100.9 lladdr 02:00:00:00:00:09 dev eth9 nud permanent",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	for name, value := range map[string]string{
		"net/ipv4/ip_local_port_range": "50000 50099",
		"net/ipv4/tcp_syn_retries":     "20",
		"net/ipv4/tcp_synack_retries":  "20",
		"net/ipv4/tcp_tw_reuse":        "1", // the sockets in TIME_WAIT are made again
	} {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// names binds files over those of /etc, so that both programs find the same names and
// ask nobody.
func (s *ssScene) names() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	dir, err := os.MkdirTemp("", "nt-ss-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{
		"hosts": "127.0.0.1 localhost\n::1 localhost\n10.0.0.2 web\n2001:db8::2 web6\n10.0.0.2 both\n2001:db8::2 both\n" +
			"10.0.0.1 pair\n10.0.0.2 pair\n",
		"services":      "http 80/tcp\nhttps 443/tcp\ndomain 53/tcp\ndomain 53/udp\n",
		"nsswitch.conf": "hosts: files\nservices: files\npasswd: files\n",
		"resolv.conf":   "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n",
	} {
		path, target := filepath.Join(dir, name), "/etc/"+name
		if _, err := os.Stat(target); err != nil {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(path, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", target, err)
		}
	}
	return nil
}

// makeCgroup makes the cgroup ntflt below the cgroup2 mount, which it makes too where
// there is none.
func (s *ssScene) makeCgroup() error {
	root := ""
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if columns := strings.Fields(line); len(columns) > 2 && columns[2] == "cgroup2" {
			root = columns[1]
			break
		}
	}
	if root == "" {
		root = "/sys/fs/cgroup"
		if err := unix.Mount("none", root, "cgroup2", 0, ""); err != nil {
			return fmt.Errorf("mount cgroup2: %w", err)
		}
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			s.home = filepath.Join(root, path)
		}
	}
	s.cgroup = filepath.Join(root, "ntflt")
	if err := os.Mkdir(s.cgroup, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// inCgroup calls a function in the cgroup.
func (s *ssScene) inCgroup(f func()) {
	s.check("enter the cgroup", os.WriteFile(filepath.Join(s.cgroup, "cgroup.procs"), []byte("0"), 0))
	f()
	s.check("leave the cgroup", os.WriteFile(filepath.Join(s.home, "cgroup.procs"), []byte("0"), 0))
}

func (s *ssScene) check(what string, err error) {
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("%s: %w", what, err)
	}
}

// sockaddr returns an address for system calls. eth9 is the zone of link-local ones.
func sockaddr(ap netip.AddrPort, zone uint32) unix.Sockaddr {
	if a := ap.Addr(); a.Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16(), ZoneId: zone}
}

// socketID is what a table shows of a socket.
func socketID(protocol string, local, remote netip.AddrPort) string {
	if remote.Port() == 0 {
		return protocol + " " + local.String()
	}
	return protocol + " " + local.String() + " " + remote.String()
}

func addrOf(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// socket makes a socket that is bound to an address, unless that is empty.
func (s *ssScene) socket(kind int, local string, options ...func(fd int) error) int {
	family := unix.AF_INET
	ap, _ := netip.ParseAddrPort(local)
	if ap.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	s.check("socket", err)
	s.fds = append(s.fds, fd)
	s.check("reuse", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	for _, set := range options {
		s.check("option of "+local, set(fd))
	}
	if local != "" {
		var zone uint32
		if ap.Addr().IsLinkLocalUnicast() {
			zone = indexOf("eth9")
		}
		s.check("bind "+local, unix.Bind(fd, sockaddr(ap, zone)))
	}
	return fd
}

func indexOf(name string) uint32 {
	text, _ := os.ReadFile("/sys/class/net/" + name + "/ifindex")
	var n uint32
	_, _ = fmt.Sscan(string(text), &n)
	if n == 0 { // sysfs is that of another namespace
		out, _ := exec.Command("ip", "-o", "link", "show", name).Output()
		_, _ = fmt.Sscan(string(out), &n)
	}
	return n
}

// name gives a socket its name.
func (s *ssScene) name(name, protocol string, fd int) {
	local, err := unix.Getsockname(fd)
	s.check("name of "+name, err)
	var remote netip.AddrPort
	if peer, err := unix.Getpeername(fd); err == nil {
		remote = addrOf(peer)
	}
	s.ids[name] = socketID(protocol, addrOf(local), remote)
}

func toDevice(name string) func(int) error {
	return func(fd int) error { return unix.BindToDevice(fd, name) }
}

func withMark(mark int) func(int) error {
	return func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark) }
}

func (s *ssScene) listener(name, local string, options ...func(int) error) {
	fd := s.socket(unix.SOCK_STREAM, local, options...)
	s.check("listen "+local, unix.Listen(fd, 16))
	s.listeners[name] = fd
	s.name(name, "tcp", fd)
}

func (s *ssScene) listen() error {
	s.listener("L80", "10.0.0.2:80")
	s.listener("L9000", "10.0.0.2:9000")
	s.listener("L9005", "10.0.0.2:9005")
	s.listener("L50090", "10.0.0.2:50090")
	s.listener("L443", "0.0.0.0:443")
	s.listener("L8080", "[::]:8080")
	s.listener("L6", "[2001:db8::2]:443")
	s.listener("Lll", "[fe80::1]:7000")
	s.listener("Llo", "127.0.0.1:7001", toDevice("lo"))
	s.listener("Leth", "198.51.100.1:7002", toDevice("eth9"))
	s.inCgroup(func() { s.listener("Lcg", "10.9.0.1:7003") })
	s.listener("Lauto", "")
	return nil
}

// connect opens a connection to a listener, accepts it and returns both ends.
func (s *ssScene) connect(name, local, remote, listener string, options ...func(int) error) (client, server int) {
	client = s.dial(local, remote, options...)
	server, _, err := unix.Accept4(s.listeners[listener], unix.SOCK_CLOEXEC)
	s.check("accept "+name, err)
	s.fds = append(s.fds, server)
	if name != "" {
		s.name(name+"c", "tcp", client)
		s.name(name+"s", "tcp", server)
	}
	return client, server
}

func (s *ssScene) dial(local, remote string, options ...func(int) error) int {
	client := s.socket(unix.SOCK_STREAM, local, options...)
	s.check("connect "+local, unix.Connect(client, sockaddr(netip.MustParseAddrPort(remote), 0)))
	return client
}

func (s *ssScene) connections() error {
	s.connect("E1", "10.0.0.1:40001", "10.0.0.2:80", "L80")
	s.connect("Ea", "", "10.0.0.2:80", "L80", bindAddressOnly("10.0.0.1"))
	s.connect("M", "10.0.0.1:40002", "10.0.0.2:8080", "L8080")
	s.connect("MM", "[::ffff:10.9.0.1]:40012", "[::ffff:10.0.0.2]:8080", "L8080")
	s.connect("S", "[2001:db8::1]:40003", "[2001:db8::2]:443", "L6")
	s.connect("l6", "[::1]:40004", "[::1]:8080", "L8080")
	s.connect("l4", "127.0.0.1:40005", "127.0.0.1:443", "L443")
	s.connect("m10", "10.9.0.1:40006", "10.9.0.1:443", "L443", withMark(0x10))
	s.connect("m13", "10.9.0.1:40007", "10.9.0.1:443", "L443", withMark(0x13))
	s.connect("dv", "10.9.0.1:40008", "10.9.0.1:443", "L443", toDevice("lo"))
	client := 0
	s.inCgroup(func() { client = s.dial("10.9.0.1:40009", "10.9.0.1:443") })
	server, _, err := unix.Accept4(s.listeners["L443"], unix.SOCK_CLOEXEC)
	s.check("accept cg", err)
	s.fds = append(s.fds, server)
	s.name("cgc", "tcp", client)
	s.name("cgs", "tcp", server)
	return nil
}

// bindAddressOnly binds to an address and leaves the port to the kernel until the
// socket connects, which is not binding by hand.
func bindAddressOnly(addr string) func(int) error {
	return func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		return errors.Join(err, unix.Bind(fd, sockaddr(netip.AddrPortFrom(netip.MustParseAddr(addr), 0), 0)))
	}
}

// dropAll has a socket drop every packet that comes.
func dropAll(fd int) error {
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
}

// halfOpen makes sockets in SYN_SENT and one in SYN_RECV.
func (s *ssScene) halfOpen() error {
	begin := func(name, local, remote string, options ...func(int) error) {
		fd := s.socket(unix.SOCK_STREAM|unix.SOCK_NONBLOCK, local, options...)
		if err := unix.Connect(fd, sockaddr(netip.MustParseAddrPort(remote), 0)); !errors.Is(err, unix.EINPROGRESS) {
			s.check("connect "+name, fmt.Errorf("%v, not EINPROGRESS", err))
		}
		s.ids[name] = socketID("tcp", netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote))
	}
	begin("SS", "10.0.0.1:40105", "10.0.0.2:9005", dropAll)
	s.ids["SR"] = "tcp 10.0.0.2:9005 10.0.0.1:40105"
	begin("SX", "198.51.100.1:40106", "198.51.100.9:443")
	return nil
}

// fill sends until nothing more goes out and the peer's window is closed.
func (s *ssScene) fill(fd int) {
	s.check("nonblocking", unix.SetNonblock(fd, true))
	block := make([]byte, 64<<10)
	for quiet := 0; quiet < 20; {
		_, err := unix.Write(fd, block)
		switch {
		case errors.Is(err, unix.EAGAIN):
			quiet++
			time.Sleep(5 * time.Millisecond)
		case err != nil:
			s.check("write", err)
			return
		default:
			quiet = 0
		}
	}
}

// closing makes the states between established and closed.
func (s *ssScene) closing() error {
	half := func(fd int) { s.check("shutdown", unix.Shutdown(fd, unix.SHUT_WR)) }
	pair := func(port int, client, server string) (c, p int) {
		c, p = s.connect("", fmt.Sprintf("10.0.0.1:%d", port), "10.0.0.2:9000", "L9000")
		s.name(client, "tcp", c)
		s.name(server, "tcp", p)
		return c, p
	}
	f1, _ := pair(40201, "F1", "E2")
	s.fill(f1)
	half(f1)
	f2, _ := pair(40202, "F2", "CW")
	half(f2)
	f2b, la := pair(40203, "F2b", "LA")
	half(f2b)
	s.fill(la)
	half(la)
	cl, f2c := pair(40204, "CL", "F2c")
	s.fill(cl)
	half(cl)
	half(f2c)
	return nil
}

func (s *ssScene) datagrams() error {
	s.name("U53", "udp", s.socket(unix.SOCK_DGRAM, "0.0.0.0:53"))
	s.name("U5353", "udp", s.socket(unix.SOCK_DGRAM, "[::]:5353"))
	for _, c := range [][3]string{
		{"Uc", "10.0.0.1:40401", "10.0.0.2:53"},
		{"Uc6", "[2001:db8::1]:40402", "[2001:db8::2]:5353"},
	} {
		fd := s.socket(unix.SOCK_DGRAM, c[1])
		s.check("connect "+c[0], unix.Connect(fd, sockaddr(netip.MustParseAddrPort(c[2]), 0)))
		s.name(c[0], "udp", fd)
	}
	return nil
}

// timeWaits makes the sockets in TIME_WAIT, which live a minute, unless those that are
// there have long to live.
func (s *ssScene) timeWaits() error {
	const renewed = 40 * time.Second
	if time.Since(s.waited) < renewed {
		return nil
	}
	s.waited = time.Now()
	for _, c := range []struct {
		name, local, remote, listener string
		serverFirst                   bool
	}{
		{"TW4", "10.0.0.1:40305", "10.0.0.2:9000", "L9000", false},
		{"TW6", "[2001:db8::1]:40306", "[2001:db8::2]:443", "L6", false},
		{"TWm", "10.0.0.1:40307", "10.0.0.2:8080", "L8080", true},
	} {
		client, server := s.connect("", c.local, c.remote, c.listener)
		first, last := client, server
		if c.serverFirst {
			first, last = server, client
		}
		s.name(c.name, "tcp", first)
		s.fds = s.fds[:len(s.fds)-2]
		unix.Close(first)
		_, _ = unix.Read(last, make([]byte, 1)) // until the FIN is there
		unix.Close(last)
	}
	return s.err
}
