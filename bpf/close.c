// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * When a socket is closed by a call that makes no transition, as after shutdown(): it
 * loses its inode. Process context, one record for each such close: fentry where the
 * kernel allows trampolines, a cgroup program elsewhere.
 */
#include "stream.h"
#include "twice.h"

static __always_inline int closed(struct sock *sk)
{
	__u8 state = sk->__sk_common.skc_state;
	struct event_head *h;
	__u64 cookie;
	__u32 netns;

	if (state == TCP_CLOSE || close_moves(state) || !traced_sock(sk, &netns))
		return 0;
	cookie = cookie_of(sk);
	if (handled_already(TWICE_CLOSE, sk, cookie))
		return 0;
	h = reserve(sizeof(*h), TELLS_OTHER);
	if (!h)
		return 0;
	fill_head(h, EVENT_RELEASE, &sk->__sk_common, netns, cookie, true);
	submit(h);
	return 0;
}

TWICE("fentry/tcp_close", close_fentry, closed(sk), struct sock *sk)

/*
 * Whether the socket of a cgroup program is wanted. Such a program may not read the
 * local address and port (__sock_filter_check_attach_type, net/core/filter.c).
 */
static __always_inline bool wanted_here(const struct bpf_sock *sk)
{
	struct tuple t = {
	    .family = sk->family,
	    .device = sk->bound_dev_if,
	    .remote_port = bpf_ntohs(sk->dst_port),
	    .unknown = 1U << WANTED_NETNS | 1U << WANTED_LOCAL_ADDR | PORT_UNKNOWN,
	};
	__u32 v4, v6[4];
	int i;

	if (!wanted_term_count)
		return true;
	if (sk->state == TCP_LISTEN)
		t.unknown |= LISTENER_UNKNOWN;
	/* Read here: the verifier takes no pointer to a context that is chosen by a branch. */
	v4 = sk->dst_ip4;
	barrier_var(v4);
	for (i = 0; i < 4; i++) {
		v6[i] = sk->dst_ip6[i];
		barrier_var(v6[i]);
	}
	for (i = 0; i < 4; i++)
		t.remote[i] = v6[i];
	if (t.family == AF_INET)
		set_v4(t.remote, v4);
	return wanted_tuple(&t);
}

/*
 * The same from a cgroup. struct bpf_sock has no network namespace, but its cookie can
 * be asked for. Where the loader does not know that (before 5.14), this sends the closes
 * of all namespaces, and the reader leaves out sockets that it does not know.
 */
SEC("cgroup/sock_release")
int close_cgroup(struct bpf_sock *sk)
{
	struct event_head *h;

	if (sk->state == TCP_CLOSE || close_moves(sk->state) ||
	    !traced(sk->protocol, sk->family, only_netns))
		return 1;
	if (!wanted_here(sk))
		return 1;
	if (only_netns_cookie && bpf_get_netns_cookie(sk) != only_netns_cookie)
		return 1;
	h = reserve(sizeof(*h), TELLS_OTHER);
	if (!h)
		return 1;
	__builtin_memset(h, 0, sizeof(*h));
	h->time = bpf_ktime_get_ns();
	h->kind = EVENT_RELEASE;
	h->family = sk->family;
	h->cookie = bpf_get_socket_cookie(sk);
	submit(h);
	return 1;
}
