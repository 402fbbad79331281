package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is a user who owns none of the processes of a scene.
const nobody = 65534

// liveScenes are namespaces with sockets of all kinds.
func liveScenes() []scene {
	const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS
	kit := func(procOptions string) func() (func(), error) {
		return func() (func(), error) { return setKit(procOptions) }
	}
	return []scene{
		{"sockets", namespaces, true, kit(""), func() []trial {
			return append(append(without("o", allTrials()), sinkTrials(sinkMerged, sinkFull, sinkClosed)...), randomTrials(3, 600, "o")...)
		}},
		{"another user", namespaces, true, kit(""), func() []trial {
			return append(asNobody(without("oc", oneShot())), asNobody(randomTrials(4, 200, "o"))...)
		}},
		{"hidden processes", namespaces, true, kit("hidepid=2"), func() []trial {
			return append(asNobody(ownerTrials()), ownerTrials()...)
		}},
		{"processes without access", namespaces, true, kit("hidepid=1"), func() []trial { return asNobody(ownerTrials()) }},
		{"empty", namespaces, true, func() (func(), error) { return func() {}, mountProc("") }, func() []trial { return without("oc", oneShot()) }},
	}
}

func ownerTrials() []trial {
	var trials []trial
	for _, line := range []string{"-anp", "-lntp", "-xp", "-tulpen", "-pe", "-xap", "-wp"} {
		trials = append(trials, trial{Args: words(line)})
	}
	return trials
}

// mountProc mounts the proc of the new pid namespace.
func mountProc(options string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, options); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	return nil
}

// kit keeps the sockets of a scene open, and the first error.
type kit struct {
	dir   string
	files []*os.File // kept open
	keep  []any
	err   error
}

// setKit sets up the network and opens the sockets.
func setKit(procOptions string) (end func(), err error) {
	dir, err := os.MkdirTemp("", "nt-kit-")
	if err != nil {
		return nil, err
	}
	k := &kit{dir: dir}
	if err := errors.Join(os.Chmod(dir, 0o755), mountProc(procOptions), k.names(), network()); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	k.tcp()
	k.datagrams()
	k.unixSockets()
	children := k.owners()
	end = func() {
		for _, c := range children {
			c.Process.Kill()
			c.Wait()
		}
		os.RemoveAll(dir)
	}
	if k.err != nil {
		end()
	}
	return end, k.err
}

// names mounts files of names over those of /etc, so that no real resolver is asked.
func (k *kit) names() error {
	files := map[string]string{
		"hosts": "127.0.0.1 localhost first second\n127.0.0.1 later\n::1 ip6-localhost\n10.9.8.7 a-host-with-a-name-longer-than-the-column.example.test short\n" +
			"2001:db8::7 six.example.test\n10.9.8.8 short\n10.1.0.0 not-a-network\n",
		"networks":      "loopback 127.0.0.0\nlink-local 169.254.0.0\nshort 10.1\ndocs 192.0.2\n",
		"resolv.conf":   "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n",
		"services": "http 80/tcp www\nhttps 443/tcp\nhttps 443/udp\nfirst 4000/tcp\nlast 4000/tcp # comment\n" +
			"a-service-with-a-long-name 40000/tcp\ndomain 53/udp\ndiscard 9/sctp\n" + strings.Repeat("x", 80) + " 4001/tcp\n",
		"protocols": "icmp 1 ICMP\ngre 47 GRE\nipv6-icmp 58 IPv6-ICMP\nfirst 253\nlast 253\n",
	}
	for name, content := range files {
		path := filepath.Join(k.dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
		target := "/etc/" + name
		if _, err := os.Stat(target); err != nil {
			continue // there is no such file to mount over, so nothing reads it
		}
		if err := unix.Mount(path, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", target, err)
		}
	}
	return nil
}

// network makes the interfaces and addresses of the namespace.
func network() error {
	for _, line := range []string{
		"link set lo up",
		"addr add 10.9.8.7/32 dev lo",
		"addr add 10.9.8.8/32 dev lo",
		"addr add 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128 dev lo nodad",
		"addr add 2001:db8::7/128 dev lo nodad",
		"link add nt0 type veth peer name nt1",
		"addr add 10.77.0.1/24 dev nt0",
		"link set nt0 up",
		"link set nt1 up",
		"addr add 10.77.0.9/24 dev nt0 label nt0:x",
		"addr add 10.77.0.10/24 dev nt0 label nt0:1",
		"addr add 10.78.0.1 peer 10.78.0.2 dev nt1",
		"addr add 2001:db8:1::1/64 dev nt0 nodad",
		"link add fourteen-bytes type veth peer name fifteen-bytes-n",
		"link set fifteen-bytes-n up promisc on allmulticast on",
		"link add nt10 type veth peer name nt2", // both down
		"route add default via 10.77.0.2",
		"route add 10.1.0.0/16 via 10.77.0.3 metric 4294967295",
		"route add 192.0.2.0/24 dev nt0 advmss 1400 window 4000 rtt 30ms",
		"route add unreachable 10.2.0.0/16",
		"route add prohibit 10.3.0.1",
		"route add blackhole 10.4.0.0/16",
		"route add 128.0.0.0/1 dev nt0",
		"route add 10.5.0.0/16 nexthop via 10.77.0.4 weight 1 nexthop via 10.77.0.5 weight 2",
		"-6 route add 2001:db8:2::/48 via 2001:db8:1::2",
		"-6 route add unreachable 2001:db8:3::/48",
		"-6 route add 2001:db8:ffff:ffff:ffff:ffff:ffff:fffe/128 dev nt0 metric 4294967295",
		"neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev nt0", // nobody there
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}

func (k *kit) fail(what string, err error) {
	if err != nil && k.err == nil {
		k.err = fmt.Errorf("%s: %w", what, err)
	}
}

// listen opens a listener and keeps it.
func (k *kit) listen(network, addr string) *net.TCPListener {
	l, err := net.Listen(network, addr)
	k.fail("listen "+addr, err)
	if err != nil {
		return nil
	}
	k.keep = append(k.keep, l)
	return l.(*net.TCPListener)
}

// connect opens a connection to a listener and accepts it.
func (k *kit) connect(l *net.TCPListener, network, addr string) (client, server *net.TCPConn) {
	if l == nil {
		return nil, nil
	}
	c, err := net.Dial(network, addr)
	k.fail("connect "+addr, err)
	if err != nil {
		return nil, nil
	}
	s, err := l.AcceptTCP()
	k.fail("accept "+addr, err)
	k.keep = append(k.keep, c, s)
	return c.(*net.TCPConn), s
}

// tcp makes TCP sockets in all states that last.
func (k *kit) tcp() {
	v4 := k.listen("tcp4", "127.0.0.1:80")
	dual := k.listen("tcp", "[::]:443")
	k.listen("tcp4", "0.0.0.0:4000")
	k.listen("tcp4", "10.9.8.7:4001")
	only6 := k.listen("tcp6", "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:40000")
	host6 := k.listen("tcp6", "[2001:db8::7]:65000")
	long4 := k.listen("tcp4", "10.9.8.7:40000")

	k.connect(v4, "tcp4", "127.0.0.1:80")
	k.connect(dual, "tcp4", "127.0.0.1:443") // mapped on the server's side
	k.connect(dual, "tcp6", "[::1]:443")
	k.connect(only6, "tcp6", "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:40000")
	k.connect(host6, "tcp6", "[2001:db8::7]:65000")
	k.connect(long4, "tcp4", "10.9.8.7:40000")

	half, _ := k.connect(v4, "tcp4", "127.0.0.1:80") // FIN_WAIT2 and CLOSE_WAIT
	if half != nil {
		k.fail("shut down", half.CloseWrite())
	}
	if c, s := k.connect(v4, "tcp4", "127.0.0.1:80"); c != nil && s != nil { // TIME_WAIT
		s.Close()
		c.Close()
	}
	c, err := net.Dial("tcp4", "127.0.0.1:80") // not accepted
	k.fail("connect", err)
	k.keep = append(k.keep, c)

	if c, s := k.connect(v4, "tcp4", "127.0.0.1:80"); c != nil && s != nil { // data waits
		_, err := s.Write([]byte("waiting"))
		k.fail("write", err)
	}
	k.synSent()
}

// synSent starts a connection that nobody answers.
func (k *kit) synSent() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	k.fail("socket", err)
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{10, 77, 0, 2}})
	if !errors.Is(err, unix.EINPROGRESS) {
		k.fail("connect", err)
	}
	k.file(fd)
}

// file keeps a descriptor.
func (k *kit) file(fd int) {
	if fd >= 0 {
		k.files = append(k.files, os.NewFile(uintptr(fd), "socket"))
	}
}

// socket opens a socket, binds it, connects it and keeps it.
func (k *kit) socket(family, kind, protocol int, local, remote unix.Sockaddr) {
	fd, err := unix.Socket(family, kind, protocol)
	if err != nil {
		k.fail(fmt.Sprintf("socket %d %d %d", family, kind, protocol), err)
		return
	}
	if kind == unix.SOCK_RAW {
		deaf(fd, protocol)
	}
	if local != nil {
		k.fail("bind", unix.Bind(fd, local))
	}
	if remote != nil {
		k.fail("connect", unix.Connect(fd, remote))
	}
	k.file(fd)
}

// deaf makes a raw ICMP socket ignore all messages. Those about resolvers that are
// not there would change its queue all the time. For other protocols the options
// have no effect.
func deaf(fd, protocol int) {
	switch protocol {
	case unix.IPPROTO_ICMP:
		_ = unix.SetsockoptInt(fd, unix.SOL_RAW, unix.ICMP_FILTER, -1)
	case unix.IPPROTO_ICMPV6:
		var all unix.ICMPv6Filter
		for i := range all.Data {
			all.Data[i] = 1<<32 - 1
		}
		_ = unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &all)
	}
}

// datagrams makes UDP, UDP-Lite and raw sockets.
func (k *kit) datagrams() {
	lo4 := func(port int) unix.Sockaddr { return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}} }
	any6 := func(port int) unix.Sockaddr { return &unix.SockaddrInet6{Port: port} }
	lo6 := func(port int) unix.Sockaddr { return &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}} }
	k.socket(unix.AF_INET, unix.SOCK_DGRAM, 0, lo4(53), nil)
	k.socket(unix.AF_INET, unix.SOCK_DGRAM, 0, lo4(5353), lo4(53))
	k.socket(unix.AF_INET6, unix.SOCK_DGRAM, 0, any6(443), nil)
	k.socket(unix.AF_INET6, unix.SOCK_DGRAM, 0, lo6(60000), lo6(443))
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE); err == nil { // gone since Linux 7.1
		k.file(fd)
		k.socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE, lo4(53), nil)
		k.socket(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE, lo6(54), lo6(55))
	}
	for _, protocol := range []int{1, 47, 58, 253, 255} {
		k.socket(unix.AF_INET, unix.SOCK_RAW, protocol, nil, nil)
		k.socket(unix.AF_INET6, unix.SOCK_RAW, protocol, nil, nil)
	}
	k.socket(unix.AF_INET, unix.SOCK_RAW, 253, lo4(0), lo4(0))
}

// unixSockets makes Unix sockets of every type, with odd names.
func (k *kit) unixSockets() {
	for i, name := range []string{"plain", "with space", "tab\there", "line\nfeed", "\xff\xfe\xc3", strings.Repeat("n", 90-len(k.dir)%60)} {
		path := filepath.Join(k.dir, name)
		if len(path) > 107 {
			path = path[:107]
		}
		k.socket(unix.AF_UNIX, []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET}[i%3], 0, &unix.SockaddrUnix{Name: path}, nil)
	}
	k.socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0, &unix.SockaddrUnix{Name: "@abstract\x00name"}, nil)
	forged := "@x\nffff: 1 0 10000 1 1 1 /forged"
	k.socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0, &unix.SockaddrUnix{Name: forged}, nil)
	l, err := net.Listen("unix", filepath.Join(k.dir, "listener"))
	k.fail("listen", err)
	for range 3 { // in the backlog
		c, err := net.Dial("unix", filepath.Join(k.dir, "listener"))
		k.fail("connect", err)
		k.keep = append(k.keep, c)
	}
	k.keep = append(k.keep, l)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	k.fail("socketpair", err)
	k.file(pair[0])
	k.file(pair[1])
}

// owners starts processes with odd names that hold sockets open. Some share a socket.
func (k *kit) owners() []*exec.Cmd {
	shared, err := net.Listen("tcp4", "127.0.0.1:81")
	k.fail("listen", err)
	if err != nil {
		return nil
	}
	sharedFile, err := shared.(*net.TCPListener).File()
	k.fail("share", err)
	var children []*exec.Cmd
	for i, name := range []string{
		"/a/b/averyveryverylongname", "./rel/path/prog", "nginx: master process /x/nginx", "/title x/with -flag /q/foo.conf",
		"/x/", "/", "", "\x1b[31mred\x1b[0m\nline", "\xff\xfe", "münchen-münchen", strings.Repeat("/0123456789", 60),
	} {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", 7000+i))
		k.fail("listen", err)
		if err != nil {
			break
		}
		file, err := l.(*net.TCPListener).File()
		k.fail("hand over", err)
		l.Close()
		cmd := &exec.Cmd{
			Path: os.Getenv(selfVar), Args: []string{name, "argument", "/with/slash"},
			Env: append(testEnviron(), roleVar+"="+roleHold), ExtraFiles: []*os.File{file, sharedFile},
		}
		if i%3 == 1 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		stdin, err := cmd.StdinPipe()
		k.fail("pipe", err)
		k.keep = append(k.keep, stdin)
		k.fail("start "+name, cmd.Start())
		children = append(children, cmd)
		file.Close()
	}
	return children
}
