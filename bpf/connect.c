// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The local port of a connect, or of a listen without bind: the kernel chooses it
 * after the transition. Process context, one record for each call. fentry where the
 * kernel allows trampolines, else a kprobe, else sock_ops.
 */
#include "stream.h"
#include "copy.h"
#include "twice.h"
#include "witness.h"

/* Whether a socket is wanted that has its port from now on: the reader must see it. */
static __always_inline bool wanted_with_port(const struct sock_common *skc, __u32 netns)
{
	return wanted(skc, netns, 0, unknown_of(skc));
}

static __always_inline void send_port(struct sock *sk, __u32 netns, __u64 cookie, bool process)
{
	struct event *e = reserve(sizeof(*e), TELLS_OTHER);

	if (!e)
		return;
	fill_event(e, EVENT_PORT, sk, netns, cookie, process);
	submit(e);
}

static __always_inline int port_known(__u32 hook, struct sock *sk)
{
	__u64 cookie;
	__u32 netns;

	if (!in_scope(sk, &netns) || !wanted_with_port(&sk->__sk_common, netns))
		return 0;
	cookie = cookie_of(sk);
	if (!handled_already(hook, sk, cookie))
		send_port(sk, netns, cookie, true);
	return 0;
}

TWICE("fentry/tcp_connect", connect_fentry, port_known(TWICE_CONNECT, sk), struct sock *sk)
TWICE("fexit/inet_csk_listen_start", listen_fexit, port_known(TWICE_LISTEN, sk), struct sock *sk)

SEC("kprobe/tcp_connect")
int connect_kprobe(struct pt_regs *ctx)
{
	const void *skc = (const void *)kprobe_arg1(ctx);
	struct event *e;
	struct copy c;

	if (!copy_in_scope(&c, skc) || !wanted_with_port(common_of(&c), c.netns))
		return 0;
	e = reserve(sizeof(*e), TELLS_OTHER);
	if (!e)
		return 0;
	copy_event(e, EVENT_PORT, skc, &c);
	submit(e);
	return 0;
}

/* Whether sock_ops is called where a socket begins, or becomes ESTABLISHED. */
static __always_inline bool is_start(__u32 op)
{
	return op == BPF_SOCK_OPS_TCP_CONNECT_CB || op == BPF_SOCK_OPS_TCP_LISTEN_CB;
}

static __always_inline bool is_established(__u32 op)
{
	return op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB ||
	       op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB;
}

/*
 * TCP_CONNECT_CB is called first in tcp_connect, as the probes above are. From then
 * on the kernel calls this for each transition of the socket too: a flag of the socket
 * says so, which a child inherits from its listener. What began before this program
 * was attached, and the children of such a listener, get the flag when they become
 * ESTABLISHED: that is called for every socket, just before the transition
 * (tcp_init_transfer, net/ipv4/tcp_input.c).
 */
SEC("sockops")
int connect_sockops(struct bpf_sock_ops *ops)
{
	struct sock *sk;
	__u32 op = ops->op, flags = ops->bpf_sock_ops_cb_flags, netns;

	if (is_established(op) ? flags & BPF_SOCK_OPS_STATE_CB_FLAG
			       : !is_start(op) && op != BPF_SOCK_OPS_STATE_CB)
		return 1;
	if (!ops->sk)
		return 1;
	sk = (struct sock *)bpf_skc_to_tcp_sock(ops->sk);
	if (!sk || !in_scope(sk, &netns))
		return 1;
	if (op == BPF_SOCK_OPS_STATE_CB) {
		if (wanted_transition(sk, ops->args[0], ops->args[1], netns))
			note(ops, sk, netns, bpf_get_socket_cookie(ops));
		return 1;
	}
	/* It may be set already, for another tracer: it is never taken away. */
	if (wanted_sock(&sk->__sk_common, netns))
		bpf_sock_ops_cb_flags_set(ops, flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	if (is_start(op) && wanted_with_port(&sk->__sk_common, netns))
		send_port(sk, netns, bpf_get_socket_cookie(ops), false);
	return 1;
}
