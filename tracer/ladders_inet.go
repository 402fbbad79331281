package tracer

import (
	"io"

	"github.com/cilium/ebpf"
)

// The capabilities for UDP and raw sockets.
const (
	SocketOpen   Capability = "socket-open"
	SocketBind   Capability = "socket-bind"
	SocketPeer   Capability = "socket-peer"
	SocketClose  Capability = "socket-close"
	SocketFamily Capability = "socket-family"
	RawBind      Capability = "raw-bind"
	SocketFiles  Capability = "socket-files"
)

// twice are the two copies of a program, as TWICE of bpf/twice.h names them.
func twice(program string) copies { return copies{program + "_a", program + "_b"} }

// inetLadders are those of UDP and raw sockets.
var inetLadders = []ladder{
	{SocketOpen, "a UDP socket is first told when it gets a port, a raw one within a second", []candidate{
		{"fexit/inet_create", []copies{twice("open_fexit4"), twice("open_fexit6")}, attachTracing, nil},
		probes("kretprobe/inet_create", probePair{socketsProgOpen4Kprobe, socketsProgOpen4Kretprobe, "inet_create"},
			probePair{socketsProgOpen6Kprobe, socketsProgOpen6Kretprobe, "inet6_create"}),
		{"cgroup/sock_create", one(socketsProgOpenCgroup), attachCgroup(ebpf.AttachCGroupInetSockCreate), nil},
	}},
	{SocketBind, "a UDP socket that gets a port is told within a second", []candidate{
		{"fexit/udp_lib_get_port", []copies{twice("bind_fexit")}, attachTracing, nil},
		probes("kretprobe/udp_lib_get_port", probePair{socketsProgBindKprobe, socketsProgBindKretprobe, "udp_lib_get_port"}),
		cgroups("cgroup/post_bind4", map[string]ebpf.AttachType{
			socketsProgBind4Cgroup: ebpf.AttachCGroupInet4PostBind,
			socketsProgBind6Cgroup: ebpf.AttachCGroupInet6PostBind,
			socketsProgSend4Cgroup: ebpf.AttachCGroupUDP4Sendmsg,
			socketsProgSend6Cgroup: ebpf.AttachCGroupUDP6Sendmsg,
		}, socketsProgBind4Cgroup, socketsProgBind6Cgroup, socketsProgSend4Cgroup, socketsProgSend6Cgroup),
	}},
	{SocketPeer, "the peer of a UDP or raw socket is told within a second", []candidate{
		{"fexit/__ip4_datagram_connect", []copies{
			twice("connect_fexit4"), twice("connect_fexit6"), twice("disconnect_fexit"),
		}, attachTracing, nil},
		probes("kretprobe/__ip4_datagram_connect",
			probePair{socketsProgConnect4Kprobe, socketsProgConnect4Kretprobe, "__ip4_datagram_connect"},
			probePair{socketsProgConnect6Kprobe, socketsProgConnect6Kretprobe, "__ip6_datagram_connect"},
			probePair{socketsProgDisconnectKprobe, socketsProgDisconnectKretprobe, "__udp_disconnect"}),
		cgroups(lookHook, map[string]ebpf.AttachType{
			socketsProgConnect4Cgroup: ebpf.AttachCGroupInet4Connect,
			socketsProgConnect6Cgroup: ebpf.AttachCGroupInet6Connect,
		}, socketsProgConnect4Cgroup, socketsProgConnect6Cgroup, socketsProgSocketRefresh),
	}},
	{SocketClose, "the end of a UDP or raw socket is told within two seconds, without its process", []candidate{
		{"fentry/sk_common_release", []copies{twice("release_fentry")}, attachTracing, nil},
		{"kprobe/sk_common_release", one(socketsProgReleaseKprobe), attachKprobe("sk_common_release"), nil},
		{"cgroup/sock_release", one(socketsProgReleaseCgroup), attachCgroup(ebpf.AttachCgroupInetSockRelease), nil},
	}},
	{SocketFamily, "an IPv6 socket that becomes one of IPv4 (IPV6_ADDRFORM) is told within a second", []candidate{
		{"fexit/ipv6_setsockopt", []copies{twice("family_fexit")}, attachTracing, nil},
		probes("kretprobe/ipv6_setsockopt", probePair{socketsProgFamilyKprobe, socketsProgFamilyKretprobe, "ipv6_setsockopt"}),
	}},
	{RawBind, "the local address of a raw socket is told within a second", []candidate{
		{"fexit/raw_bind", []copies{twice("raw_bind_fexit4"), twice("raw_bind_fexit6")}, attachTracing, nil},
		probes("kretprobe/raw_bind", probePair{socketsProgRawBindKprobe, socketsProgRawBindKretprobe, "raw_bind"},
			probePair{socketsProgRaw6BindKprobe, socketsProgRaw6BindKretprobe, "rawv6_bind"}),
	}},
	{SocketFiles, "owners of UDP, raw and Unix sockets opened earlier are searched in /proc", []candidate{
		{"iter/task_file", one(socketsProgSocketFiles), attachIter, nil},
	}},
}

// lookHook tells a connect before it is made; the row is looked at afterwards.
const lookHook = "cgroup/connect4"

// probePair are a kprobe and a kretprobe of one function.
type probePair struct{ enter, leave, symbol string }

// probes is a hook on functions of which the arguments and the result are needed. The
// kretprobe comes first: what enters before it is attached is not found, and that is all.
func probes(name string, pairs ...probePair) candidate {
	c := candidate{name: name}
	attach := make(map[string]func(*ebpf.Program) (io.Closer, error))
	for _, p := range pairs {
		c.programs = append(c.programs, copies{p.leave}, copies{p.enter})
		attach[p.leave], attach[p.enter] = attachKretprobe(p.symbol), attachKprobe(p.symbol)
	}
	c.attachAs = func(program string, p *ebpf.Program) (io.Closer, error) { return attach[program](p) }
	return c
}

// cgroups is a hook of programs on several places of a cgroup. Those without a place are
// run by the reader.
func cgroups(name string, at map[string]ebpf.AttachType, programs ...string) candidate {
	c := candidate{name: name}
	for _, program := range programs {
		c.programs = append(c.programs, copies{program})
	}
	c.attachAs = func(program string, p *ebpf.Program) (io.Closer, error) {
		place, ok := at[program]
		if !ok {
			return attachNothing(p)
		}
		return attachCgroup(place)(p)
	}
	return c
}
