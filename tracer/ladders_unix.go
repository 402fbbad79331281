package tracer

import "github.com/cilium/ebpf"

// The capabilities for Unix sockets.
const (
	UnixOpen     Capability = "unix-open"
	UnixName     Capability = "unix-name"
	UnixListen   Capability = "unix-listen"
	UnixConnect  Capability = "unix-connect"
	UnixLostPeer Capability = "unix-lost-peer"
	UnixRows     Capability = "unix-rows"
)

// unixLadders are those of Unix sockets. The second one of a capability is for kernels
// before 5.17, where the functions take other arguments.
var unixLadders = []ladder{
	{UnixOpen, "Unix sockets are read several times a second: one that lives shorter is missed, and who closed one is not known", []candidate{
		{"fexit/unix_create1", []copies{twice("unix_create_fexit"), twice("unix_release_fentry")}, attachTracing},
		{"fentry/unix_release_sock", []copies{twice("unix_create_fexit_old"), twice("unix_release_fentry")}, attachTracing},
		unixLife(),
	}},
	{UnixName, "the name of a Unix socket is told within a second, without a process", []candidate{
		{"fexit/unix_bind", []copies{twice("unix_bind_fexit"), twice("unix_autobind_fexit")}, attachTracing},
		{"fexit/unix_autobind", []copies{twice("unix_bind_fexit"), twice("unix_autobind_fexit_old")}, attachTracing},
		probes("kretprobe/unix_bind",
			probePair{socketsProgUnixBindKprobe, socketsProgUnixBindKretprobe, "unix_bind"},
			probePair{socketsProgUnixAutobindKprobe, socketsProgUnixAutobindKretprobe, "unix_autobind"}),
	}},
	{UnixListen, "listen, accept and socketpair of Unix sockets are told within a second, without a process", []candidate{
		{"fexit/unix_listen", []copies{
			twice("unix_listen_fexit"), twice("unix_accept_fexit"), twice("unix_pair_fexit"),
		}, attachTracing},
		probes("kretprobe/unix_listen",
			probePair{socketsProgUnixListenKprobe, socketsProgUnixListenKretprobe, "unix_listen"},
			probePair{socketsProgUnixAcceptKprobe, socketsProgUnixAcceptKretprobe, "unix_accept"},
			probePair{socketsProgUnixPairKprobe, socketsProgUnixPairKretprobe, "unix_socketpair"}),
	}},
	{UnixConnect, "connects of Unix sockets are told within a second, without a process", []candidate{
		{"fexit/unix_stream_connect", []copies{
			twice("unix_connect_fexit"), twice("unix_dgram_connect_fexit"),
		}, attachTracing},
		probes("kretprobe/unix_stream_connect",
			probePair{socketsProgUnixConnectKprobe, socketsProgUnixConnectKretprobe, "unix_stream_connect"},
			probePair{socketsProgUnixDgramConnectKprobe, socketsProgUnixDgramConnectKretprobe, "unix_dgram_connect"}),
		unixReady(),
	}},
	{UnixLostPeer, "that a Unix datagram socket has lost its peer is told within a second", []candidate{
		{"fentry/unix_dgram_disconnected", []copies{twice("unix_left_fentry")}, attachTracing},
		{"kprobe/unix_dgram_disconnected", one(socketsProgUnixLeftKprobe), attachKprobe("unix_dgram_disconnected")},
	}},
	{UnixRows, "Unix sockets are read from sock_diag, which has none that waits for accept()", []candidate{
		{"iter/unix", one(socketsProgUnixRows), attachIter},
	}},
}

// dataReadyHook sees the connects of stream sockets alone.
const dataReadyHook = "tp_btf/sk_data_ready"

// unixReady is the hook that tells which socket of a process a listener is woken by.
func unixReady() candidate {
	return several(dataReadyHook,
		placed{socketsProgUnixDataReady, attachTracing},
		placed{socketsProgUnixConnectCgroup, attachCgroup(ebpf.AttachCgroupUnixConnect)})
}

// unixLife is the hook on the start and the end of Unix sockets by kprobes.
func unixLife() candidate {
	return several("kretprobe/unix_create1",
		placed{socketsProgUnixReleaseKprobe, attachKprobe("unix_release_sock")},
		placed{socketsProgUnixCreateKretprobe, attachKretprobe("unix_create1")})
}

// chooseUnix chooses the hooks of Unix sockets. bpf_skc_to_unix_sock is newer than the
// trampolines: where the kernel has no such helper, probe reads serve.
func chooseUnix(h *hooks) {
	program := []string{twice("unix_release_fentry")[0]}
	if h.set.unixDirect = h.set.cookie; h.set.unixDirect {
		h.set.unixDirect = h.load(program) == nil
		h.drop(program)
	}
	h.choose(UnixOpen, UnixName, UnixListen, UnixConnect, UnixLostPeer, UnixRows)
}

// unixWhole reports whether hooks tell all that may change of Unix sockets.
func unixWhole(chosen map[Capability]string) bool {
	for _, c := range []Capability{UnixOpen, UnixName, UnixListen, UnixConnect, UnixLostPeer} {
		if chosen[c] == "" || chosen[c] == dataReadyHook {
			return false
		}
	}
	return true
}
