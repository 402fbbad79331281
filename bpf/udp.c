// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The life of UDP and UDP-Lite sockets, and what raw sockets share with them: connect,
 * disconnect, close. Process context, one record for each call. fentry and fexit where
 * the kernel allows trampolines, else kprobes, else cgroup programs.
 */
#include "inet.h"

/* socket(); a raw socket is in its table from here on. */
TWICE("fexit/inet_create", open_fexit4,
      ret ? 0 : inet_call(TWICE_INET_OPEN, socket->sk, SOCKET_OPEN, kern ? SOCKET_KERNEL : 0),
      struct net *net, struct socket *socket, int protocol, int kern, int ret)
TWICE("fexit/inet6_create", open_fexit6,
      ret ? 0 : inet_call(TWICE_INET_OPEN, socket->sk, SOCKET_OPEN, kern ? SOCKET_KERNEL : 0),
      struct net *net, struct socket *socket, int protocol, int kern, int ret)

/* inet_create(net, socket, …) and inet6_create. What the socket is its end shows. */
static __always_inline int opens_probe(struct pt_regs *ctx)
{
	struct inet_call_key key = {bpf_get_current_pid_tgid(), TWICE_INET_OPEN};
	struct inet_call call = {kprobe_arg2(ctx), 0};

	bpf_map_update_elem(&inet_calls, &key, &call, BPF_ANY);
	return 0;
}

static __always_inline int opened_probe(struct pt_regs *ctx)
{
	__u64 unused;
	const struct socket *socket = inet_leave(TWICE_INET_OPEN, &unused);

	if (!socket || (int)kprobe_ret(ctx))
		return 0;
	return inet_probe_call(BPF_CORE_READ(socket, sk), SOCKET_OPEN, 0);
}

SEC("kprobe/inet_create")
int open4_kprobe(struct pt_regs *ctx)
{
	return opens_probe(ctx);
}

SEC("kretprobe/inet_create")
int open4_kretprobe(struct pt_regs *ctx)
{
	return opened_probe(ctx);
}

SEC("kprobe/inet6_create")
int open6_kprobe(struct pt_regs *ctx)
{
	return opens_probe(ctx);
}

SEC("kretprobe/inet6_create")
int open6_kretprobe(struct pt_regs *ctx)
{
	return opened_probe(ctx);
}

SEC("cgroup/sock_create")
int open_cgroup(struct bpf_sock *ctx)
{
	return inet_cgroup(ctx, SOCKET_OPEN);
}

/*
 * bind(), or the kernel chooses a port within connect() or send(): the row appears. The
 * address is set before.
 */
TWICE("fexit/udp_lib_get_port", bind_fexit,
      ret ? 0 : inet_call(TWICE_INET_BIND, sk, SOCKET_BIND, snum ? 0 : SOCKET_AUTO),
      struct sock *sk, unsigned short snum, unsigned int nulladdr, int ret)

SEC("kprobe/udp_lib_get_port")
int bind_kprobe(struct pt_regs *ctx)
{
	return inet_enter(TWICE_INET_BIND, ctx);
}

SEC("kretprobe/udp_lib_get_port")
int bind_kretprobe(struct pt_regs *ctx)
{
	__u64 snum;
	const void *sk = inet_leave(TWICE_INET_BIND, &snum);

	if (!sk || (int)kprobe_ret(ctx))
		return 0;
	return inet_probe_call(sk, SOCKET_BIND, (__u16)snum ? 0 : SOCKET_AUTO);
}

/*
 * The port of bind() is final here, and the address. The kernel's own sockets have no
 * file; no cgroup program sees their end, so they are left to the scans.
 */
static __always_inline int bound_cgroup(struct bpf_sock *ctx)
{
	struct sock *sk = (struct sock *)ctx;

	if (!inet_kind(ctx->family, ctx->type, ctx->protocol) ||
	    !BPF_CORE_READ(sk, sk_socket, file))
		return 1;
	return inet_cgroup(ctx, SOCKET_BIND);
}

SEC("cgroup/post_bind4")
int bind4_cgroup(struct bpf_sock *ctx)
{
	return bound_cgroup(ctx);
}

SEC("cgroup/post_bind6")
int bind6_cgroup(struct bpf_sock *ctx)
{
	return bound_cgroup(ctx);
}

#define TOLD_MAX 4096

/*
 * The sockets whose port was told when they sent: the cookie and the port. One that is
 * overwritten is told again, which says nothing new.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TOLD_MAX);
	__type(key, __u32);
	__type(value, __u64);
} told_ports SEC(".maps");

/*
 * sendto(), after the kernel has chosen a port where there was none. It is called for each
 * datagram of a socket without a peer.
 */
static __always_inline int sent_cgroup(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u64 cookie, now, *told;
	__u32 slot;

	if (!inet_addr_in_scope(ctx) || !sk)
		return 1;
	cookie = bpf_get_socket_cookie(ctx);
	now = cookie << 16 | (sk->src_port & 0xffff);
	slot = cookie % TOLD_MAX;
	told = bpf_map_lookup_elem(&told_ports, &slot);
	if (!told || *told == now)
		return 1;
	*told = now;
	return inet_addr_send(ctx, SOCKET_BIND, SOCKET_AUTO);
}

SEC("cgroup/sendmsg4")
int send4_cgroup(struct bpf_sock_addr *ctx)
{
	return sent_cgroup(ctx);
}

SEC("cgroup/sendmsg6")
int send6_cgroup(struct bpf_sock_addr *ctx)
{
	return sent_cgroup(ctx);
}

/*
 * connect(). One that fails may have changed the row nevertheless. An IPv6 socket that
 * connects to a mapped address goes through the function of IPv4 first, and has its IPv6
 * addresses only afterwards.
 */
static __always_inline int connected(__u32 hook, struct sock *sk, __u16 family, int ret)
{
	if (sk->__sk_common.skc_family != family)
		return 0;
	return inet_call(hook, sk, ret ? SOCKET_SEEN : SOCKET_CONNECT, 0);
}

TWICE("fexit/__ip4_datagram_connect", connect_fexit4,
      connected(TWICE_INET_CONNECT4, sk, AF_INET, ret), struct sock *sk, void *addr, int len,
      int ret)
TWICE("fexit/__ip6_datagram_connect", connect_fexit6,
      connected(TWICE_INET_CONNECT6, sk, AF_INET6, ret), struct sock *sk, void *addr, int len,
      int ret)

static __always_inline int connected_probe(__u32 hook, __u16 family, struct pt_regs *ctx)
{
	__u64 addr;
	const struct sock *sk = inet_leave(hook, &addr);

	if (!sk || BPF_CORE_READ(sk, __sk_common.skc_family) != family)
		return 0;
	return inet_probe_call(sk, (int)kprobe_ret(ctx) ? SOCKET_SEEN : SOCKET_CONNECT, 0);
}

SEC("kprobe/__ip4_datagram_connect")
int connect4_kprobe(struct pt_regs *ctx)
{
	return inet_enter(TWICE_INET_CONNECT4, ctx);
}

SEC("kretprobe/__ip4_datagram_connect")
int connect4_kretprobe(struct pt_regs *ctx)
{
	return connected_probe(TWICE_INET_CONNECT4, AF_INET, ctx);
}

SEC("kprobe/__ip6_datagram_connect")
int connect6_kprobe(struct pt_regs *ctx)
{
	return inet_enter(TWICE_INET_CONNECT6, ctx);
}

SEC("kretprobe/__ip6_datagram_connect")
int connect6_kretprobe(struct pt_regs *ctx)
{
	return connected_probe(TWICE_INET_CONNECT6, AF_INET6, ctx);
}

/*
 * Before connect(): the row is the former one. The reader looks at it again. The cgroup
 * programs are not called where a socket is to have no peer any more (AF_UNSPEC).
 */
static __always_inline int connects_cgroup(struct bpf_sock_addr *ctx)
{
	return inet_addr_in_scope(ctx) ? inet_addr_send(ctx, SOCKET_CONNECT, SOCKET_INTENT) : 1;
}

SEC("cgroup/connect4")
int connect4_cgroup(struct bpf_sock_addr *ctx)
{
	return connects_cgroup(ctx);
}

SEC("cgroup/connect6")
int connect6_cgroup(struct bpf_sock_addr *ctx)
{
	return connects_cgroup(ctx);
}

/* connect() to AF_UNSPEC, or the socket is aborted: it keeps a port that it was bound to. */
TWICE("fexit/__udp_disconnect", disconnect_fexit,
      inet_call(TWICE_INET_DISCONNECT, sk, SOCKET_DISCONNECT, 0), struct sock *sk, int flags,
      int ret)

SEC("kprobe/__udp_disconnect")
int disconnect_kprobe(struct pt_regs *ctx)
{
	return inet_enter(TWICE_INET_DISCONNECT, ctx);
}

SEC("kretprobe/__udp_disconnect")
int disconnect_kretprobe(struct pt_regs *ctx)
{
	__u64 flags;
	const void *sk = inet_leave(TWICE_INET_DISCONNECT, &flags);

	return sk ? inet_probe_call(sk, SOCKET_DISCONNECT, 0) : 0;
}

/* The last file was closed. The row is still whole. */
TWICE("fentry/sk_common_release", release_fentry, inet_call(TWICE_INET_CLOSE, sk, SOCKET_CLOSE, 0),
      struct sock *sk)

SEC("kprobe/sk_common_release")
int release_kprobe(struct pt_regs *ctx)
{
	return inet_probe_call((const void *)kprobe_arg1(ctx), SOCKET_CLOSE, 0);
}

SEC("cgroup/sock_release")
int release_cgroup(struct bpf_sock *ctx)
{
	return inet_cgroup(ctx, SOCKET_CLOSE);
}

/*
 * IPV6_ADDRFORM makes an IPv6 socket one of IPv4: its row moves to the other file. It is
 * told where either family is asked for.
 */
static __always_inline int form_changed(struct sock *sk, int level, int option, int ret)
{
	__u64 cookie;
	__u32 netns;

	if (level != SOL_IPV6 || option != IPV6_ADDRFORM || ret)
		return 0;
	if (!inet_type(sk->sk_type, sk->sk_protocol) ||
	    !traced_netns(netns = netns_of(&sk->__sk_common)))
		return 0;
	cookie = cookie_of(sk);
	if (handled_already(TWICE_INET_FAMILY, sk, cookie))
		return 0;
	return inet_send(sk, SOCKET_FAMILY, 0, netns, cookie, inet_send_caller());
}

/*
 * ipv6_setsockopt(sk, level, option, value, length): the value is a struct of two words, so
 * that the result is the seventh. 5.10 takes no such function.
 */
static __always_inline int form_args(unsigned long long *ctx)
{
	return form_changed((struct sock *)ctx[0], ctx[1], ctx[2], ctx[6]);
}

SEC("fexit/ipv6_setsockopt")
int family_fexit_a(unsigned long long *ctx)
{
	return form_args(ctx);
}

SEC("fexit/ipv6_setsockopt")
int family_fexit_b(unsigned long long *ctx)
{
	return form_args(ctx);
}

SEC("kprobe/ipv6_setsockopt")
int family_kprobe(struct pt_regs *ctx)
{
	struct inet_call_key key = {bpf_get_current_pid_tgid(), TWICE_INET_FAMILY};
	struct inet_call call = {kprobe_arg1(ctx), 0};
	const struct sock *sk = (const struct sock *)call.sk;

	if ((int)kprobe_arg2(ctx) != SOL_IPV6 || (int)kprobe_arg3(ctx) != IPV6_ADDRFORM ||
	    !inet_type(BPF_CORE_READ(sk, sk_type), BPF_CORE_READ(sk, sk_protocol)))
		return 0;
	if (traced_netns(BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum)))
		bpf_map_update_elem(&inet_calls, &key, &call, BPF_ANY);
	return 0;
}

SEC("kretprobe/ipv6_setsockopt")
int family_kretprobe(struct pt_regs *ctx)
{
	__u64 unused;
	const void *sk = inet_leave(TWICE_INET_FAMILY, &unused);

	if (!sk || (int)kprobe_ret(ctx))
		return 0;
	return inet_send_copy(sk, 0, inet_what(SOCKET_FAMILY, 0, 0, 0), inet_send_caller());
}
