// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The local port of a connect, or of a listen without bind: the kernel chooses it
 * after the transition. Process context, one record for each call. fentry where the
 * kernel allows trampolines, else a kprobe, else sock_ops.
 */
#include "stream.h"
#include "copy.h"
#include "owner.h"
#include "twice.h"
#include "witness.h"

/* Whether a socket is wanted that has its port from now on: the reader must see it. */
static __always_inline bool wanted_with_port(const struct sock_common *skc)
{
	return wanted(skc, 0, unknown_of(skc));
}

static __always_inline void send_port(struct sock *sk, __u32 netns, __u64 cookie, bool process)
{
	struct event *e = reserve(sizeof(*e), TELLS_OTHER);

	if (!e)
		return;
	fill_event(e, EVENT_PORT, sk, netns, cookie, process);
	submit(e);
}

static __always_inline int listen_port_known(struct sock *sk)
{
	__u64 cookie;
	__u32 netns;

	if (!wanted_with_port(&sk->__sk_common) || !in_scope(sk, &netns))
		return 0;
	cookie = cookie_of(sk);
	if (!handled_already(TWICE_LISTEN, sk, cookie))
		send_port(sk, netns, cookie, true);
	return 0;
}

/*
 * Sends the first transition of a connect, which the state program leaves to this
 * (connect_reported). Of a socket that was bound before it has sent it: then the reader
 * gets it twice, which changes nothing.
 */
static __always_inline void send_connect(struct sock *sk, __u32 netns, __u64 cookie)
{
	bool known = in_process_context(sk) && send_process(true);

	send_owner(sk, EVENT_STATE, TCP_CLOSE, TCP_SYN_SENT, sk->sk_socket, netns, cookie, known);
}

static __always_inline int connects(__u32 hook, struct sock *sk)
{
	__u64 cookie;
	__u32 netns;

	if (!traced_sock(sk, &netns))
		return 0;
	cookie = cookie_of(sk);
	if (!handled_already(hook, sk, cookie))
		send_connect(sk, netns, cookie);
	return 0;
}

TWICE("fentry/tcp_connect", connect_fentry, connects(TWICE_CONNECT, sk), struct sock *sk)
TWICE("fexit/inet_csk_listen_start", listen_fexit, listen_port_known(sk), struct sock *sk)

SEC("kprobe/tcp_connect")
int connect_kprobe(struct pt_regs *ctx)
{
	const void *skc = (const void *)kprobe_arg1(ctx);
	struct event *e;
	struct copy c;

	if (!copy_raw(&c, skc) || !copy_wanted(&c, 0) || !copy_traced(&c))
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

/* The cookie of the socket of sock_ops: the helper is for one that has none yet. */
static __always_inline __u64 cookie_in(struct bpf_sock_ops *ops, const struct sock *sk)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;

	return cookie ? cookie : bpf_get_socket_cookie(ops);
}

/*
 * TCP_CONNECT_CB is called first in tcp_connect, as the probes above are. From then
 * on the kernel calls this for each transition of the socket too: a flag of the socket
 * says so, which a child inherits from its listener. What began before this program
 * was attached, and the children of such a listener, get the flag when they become
 * ESTABLISHED: that is called for every socket, just before the transition
 * (tcp_init_transfer, net/ipv4/tcp_input.c).
 */
static __always_inline int sockops(struct bpf_sock_ops *ops, bool reports_connect)
{
	struct sock *sk;
	__u32 op = ops->op, flags = ops->bpf_sock_ops_cb_flags, netns;
	bool sock_wanted, has_port;
	__u64 cookie;

	if (is_established(op) ? flags & BPF_SOCK_OPS_STATE_CB_FLAG
			       : !is_start(op) && op != BPF_SOCK_OPS_STATE_CB)
		return 1;
	if (!ops->sk)
		return 1;
	sk = (struct sock *)bpf_skc_to_tcp_sock(ops->sk);
	if (!sk)
		return 1;
	if (op == BPF_SOCK_OPS_STATE_CB) {
		if (wanted_transition(sk, ops->args[0], ops->args[1]) && in_scope(sk, &netns))
			note(ops, sk, netns, cookie_in(ops, sk));
		return 1;
	}
	sock_wanted = wanted_sock(&sk->__sk_common);
	reports_connect = reports_connect && op == BPF_SOCK_OPS_TCP_CONNECT_CB;
	has_port = is_start(op) && !reports_connect && wanted_with_port(&sk->__sk_common);
	if ((!sock_wanted && !has_port) || !in_scope(sk, &netns))
		return 1;
	/* It may be set already, for another tracer: it is never taken away. */
	if (sock_wanted)
		bpf_sock_ops_cb_flags_set(ops, flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	if (!is_start(op))
		return 1;
	cookie = cookie_in(ops, sk);
	if (reports_connect)
		send_connect(sk, netns, cookie);
	else if (has_port)
		send_port(sk, netns, cookie, false);
	return 1;
}

SEC("sockops")
int connect_sockops(struct bpf_sock_ops *ops)
{
	return sockops(ops, true);
}

/* Where such a program may not ask for the current process: before 6.16. */
SEC("sockops")
int port_sockops(struct bpf_sock_ops *ops)
{
	return sockops(ops, false);
}
