package tracer

import "github.com/cilium/ebpf"

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
		{"fexit/inet_create", []copies{twice("open_fexit4"), twice("open_fexit6")}, attachTracing},
		probes("kretprobe/inet_create", probePair{socketsProgOpen4Kprobe, socketsProgOpen4Kretprobe, "inet_create"},
			probePair{socketsProgOpen6Kprobe, socketsProgOpen6Kretprobe, "inet6_create"}),
		{"cgroup/sock_create", one(socketsProgOpenCgroup), attachCgroup(ebpf.AttachCGroupInetSockCreate)},
	}},
	{SocketBind, "a UDP socket that gets a port is told within a second", []candidate{
		{"fexit/udp_lib_get_port", []copies{twice("bind_fexit")}, attachTracing},
		probes("kretprobe/udp_lib_get_port", probePair{socketsProgBindKprobe, socketsProgBindKretprobe, "udp_lib_get_port"}),
		several("cgroup/post_bind4",
			placed{socketsProgBind4Cgroup, attachCgroup(ebpf.AttachCGroupInet4PostBind)},
			placed{socketsProgBind6Cgroup, attachCgroup(ebpf.AttachCGroupInet6PostBind)},
			placed{socketsProgSend4Cgroup, attachCgroup(ebpf.AttachCGroupUDP4Sendmsg)},
			placed{socketsProgSend6Cgroup, attachCgroup(ebpf.AttachCGroupUDP6Sendmsg)}),
	}},
	{SocketPeer, "the peer of a UDP or raw socket is told within a second", []candidate{
		{"fexit/__ip4_datagram_connect", []copies{
			twice("connect_fexit4"), twice("connect_fexit6"), twice("disconnect_fexit"),
		}, attachTracing},
		probes("kretprobe/__ip4_datagram_connect",
			probePair{socketsProgConnect4Kprobe, socketsProgConnect4Kretprobe, "__ip4_datagram_connect"},
			probePair{socketsProgConnect6Kprobe, socketsProgConnect6Kretprobe, "__ip6_datagram_connect"},
			probePair{socketsProgDisconnectKprobe, socketsProgDisconnectKretprobe, "__udp_disconnect"}),
		several(lookHook,
			placed{socketsProgConnect4Cgroup, attachCgroup(ebpf.AttachCGroupInet4Connect)},
			placed{socketsProgConnect6Cgroup, attachCgroup(ebpf.AttachCGroupInet6Connect)},
			placed{socketsProgSocketRefresh, attachNothing}), // which the reader runs
	}},
	{SocketClose, "the end of a UDP or raw socket is told within two seconds, without its process", []candidate{
		{"fentry/sk_common_release", []copies{twice("release_fentry")}, attachTracing},
		{"kprobe/sk_common_release", one(socketsProgReleaseKprobe), attachKprobe("sk_common_release")},
		{"cgroup/sock_release", one(socketsProgReleaseCgroup), attachCgroup(ebpf.AttachCgroupInetSockRelease)},
	}},
	{SocketFamily, "an IPv6 socket that becomes one of IPv4 (IPV6_ADDRFORM) is told within a second", []candidate{
		{"fexit/ipv6_setsockopt", []copies{twice("family_fexit")}, attachTracing},
		probes("kretprobe/ipv6_setsockopt", probePair{socketsProgFamilyKprobe, socketsProgFamilyKretprobe, "ipv6_setsockopt"}),
	}},
	{RawBind, "the local address of a raw socket is told within a second", []candidate{
		{"fexit/raw_bind", []copies{twice("raw_bind_fexit4"), twice("raw_bind_fexit6")}, attachTracing},
		probes("kretprobe/raw_bind", probePair{socketsProgRawBindKprobe, socketsProgRawBindKretprobe, "raw_bind"},
			probePair{socketsProgRaw6BindKprobe, socketsProgRaw6BindKretprobe, "rawv6_bind"}),
	}},
	{SocketFiles, "owners of UDP, raw and Unix sockets opened earlier are searched in /proc", []candidate{
		{"iter/task_file", one(socketsProgSocketFiles), attachIter},
	}},
}

// lookHook tells a connect before it is made; the row is looked at afterwards.
const lookHook = "cgroup/connect4"

// probePair are a kprobe and a kretprobe of one function.
type probePair struct{ enter, leave, symbol string }

// probes is a hook on functions of which the arguments and the result are needed. The
// kretprobe comes first: what enters before it is attached is not found, and that is all.
func probes(name string, pairs ...probePair) candidate {
	var programs []placed
	for _, p := range pairs {
		programs = append(programs, placed{p.leave, attachKretprobe(p.symbol)}, placed{p.enter, attachKprobe(p.symbol)})
	}
	return several(name, programs...)
}
