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

/* What is to be sent of a socket that has its port from now on. */
enum port_news {
	NEWS_NONE,
	NEWS_PORT,    /* the port: the reader knows the socket, or may */
	NEWS_CONNECT, /* its first transition, which was not sent without a port */
};

/*
 * The reader must see the port of a socket whose transition it was sent, also where that
 * makes it an unwanted one. decides says that a connect without a port was left to this.
 */
static __always_inline enum port_news port_news(const struct sock_common *skc, bool decides)
{
	__u32 unknown = unknown_of(skc);

	if (!wanted_term_count)
		return NEWS_PORT;
	if (!decides || skc->skc_state != TCP_SYN_SENT)
		return wanted(skc, 0, unknown) ? NEWS_PORT : NEWS_NONE;
	if (wanted(skc, 0, unknown | PORT_NONE))
		return NEWS_PORT;
	return wanted_sock(skc) ? NEWS_CONNECT : NEWS_NONE;
}

/* Sends it. process says whether the hook may ask for the current process. */
static __always_inline void send_news(struct sock *sk, enum port_news news, __u32 netns,
				      __u64 cookie, bool process)
{
	struct event *e;
	bool known;

	if (news == NEWS_CONNECT) {
		known = in_process_context(sk) && send_process(true);
		send_owner(sk, EVENT_STATE, TCP_CLOSE, TCP_SYN_SENT, sk->sk_socket, netns, cookie,
			   known);
		return;
	}
	e = reserve(sizeof(*e), TELLS_OTHER);
	if (!e)
		return;
	fill_event(e, EVENT_PORT, sk, netns, cookie, process);
	submit(e);
}

static __always_inline int port_known(__u32 hook, struct sock *sk, bool decides)
{
	enum port_news news = port_news(&sk->__sk_common, decides);
	__u64 cookie;
	__u32 netns;

	if (!news || !in_scope(sk, &netns))
		return 0;
	cookie = cookie_of(sk);
	if (!handled_already(hook, sk, cookie))
		send_news(sk, news, netns, cookie, true);
	return 0;
}

TWICE("fentry/tcp_connect", connect_fentry, port_known(TWICE_CONNECT, sk, false), struct sock *sk)
TWICE("fexit/inet_csk_listen_start", listen_fexit, port_known(TWICE_LISTEN, sk, false),
      struct sock *sk)

/* Where a condition asks for local ports. */
TWICE("fentry/tcp_connect", decide_fentry, port_known(TWICE_CONNECT, sk, true), struct sock *sk)

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

/*
 * TCP_CONNECT_CB is called first in tcp_connect, as the probes above are. From then
 * on the kernel calls this for each transition of the socket too: a flag of the socket
 * says so, which a child inherits from its listener. What began before this program
 * was attached, and the children of such a listener, get the flag when they become
 * ESTABLISHED: that is called for every socket, just before the transition
 * (tcp_init_transfer, net/ipv4/tcp_input.c).
 */
static __always_inline int sockops(struct bpf_sock_ops *ops, bool decides)
{
	enum port_news news = NEWS_NONE;
	struct sock *sk;
	__u32 op = ops->op, flags = ops->bpf_sock_ops_cb_flags, netns;
	bool sock_wanted;

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
			note(ops, sk, netns, bpf_get_socket_cookie(ops));
		return 1;
	}
	sock_wanted = wanted_sock(&sk->__sk_common);
	if (is_start(op))
		news = port_news(&sk->__sk_common, decides);
	if ((!sock_wanted && !news) || !in_scope(sk, &netns))
		return 1;
	/* It may be set already, for another tracer: it is never taken away. */
	if (sock_wanted)
		bpf_sock_ops_cb_flags_set(ops, flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	if (news)
		send_news(sk, news, netns, bpf_get_socket_cookie(ops), false);
	return 1;
}

SEC("sockops")
int connect_sockops(struct bpf_sock_ops *ops)
{
	return sockops(ops, false);
}

/* Where a condition asks for local ports. */
SEC("sockops")
int decide_sockops(struct bpf_sock_ops *ops)
{
	return sockops(ops, true);
}
