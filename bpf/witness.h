/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The second witness of the transitions. tcp_set_state calls sock_ops just before
 * the tracepoint. The kernel does not run the state program where a copy of it is
 * active already, and some kernels have a policy of their own; it runs sock_ops
 * always. So sock_ops notes each transition, the state program confirms it, and
 * what is still unconfirmed at the next transition on the CPU was missed.
 */
#ifndef NETTRACE_WITNESS_H
#define NETTRACE_WITNESS_H

#include "stream.h"

/*
 * The last transition that sock_ops saw on this CPU. The cookie is 0 once the
 * state program has confirmed it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} sockops_last SEC(".maps");

/* Whether sock_ops notes transitions. The loader sets it once it is attached. */
bool sockops_attached;

/* Confirms a transition: the state program has it too. */
static __always_inline void confirm(__u64 cookie, int from, int to)
{
	__u32 zero = 0;
	struct event *last = bpf_map_lookup_elem(&sockops_last, &zero);

	if (last && last->head.cookie == cookie && last->head.old_state == from &&
	    last->head.new_state == to)
		last->head.cookie = 0;
}

/* Notes a transition, and reports the one before it that was not confirmed. */
static __always_inline void note(struct bpf_sock_ops *ops, struct sock *sk, __u32 netns,
				 __u64 cookie)
{
	__u32 zero = 0;
	struct event *last = bpf_map_lookup_elem(&sockops_last, &zero), *missed;
	volatile __u64 *states, *whose;
	__u64 former, transition;

	if (!last)
		return;
	/*
	 * A softirq may interrupt this anywhere, make a transition and write the same
	 * entry. So kind, states, family and netns are read and written as one word,
	 * and the cookie, without which an entry is void, is written last and read
	 * twice.
	 */
	states = (volatile __u64 *)&last->head.kind;
	whose = &last->head.cookie;
	former = *whose;
	transition = *states;
	if (former && *whose == former) {
		missed = reserve(sizeof(*missed),
				 tells_of(transition >> 8 & 0xff, transition >> 16 & 0xff));
		if (missed) {
			*missed = *last;
			*(__u64 *)&missed->head.kind = transition;
			missed->head.cookie = former;
			submit(missed);
		}
	}
	*whose = 0;
	last->head.time = bpf_ktime_get_ns();
	*states = EVENT_MISSED | ops->args[0] << 8 | ops->args[1] << 16 |
		  sk->__sk_common.skc_family << 24 | (__u64)netns << 32;
	last->head.sk = (__u64)sk;
	last->uid = sk->sk_uid.val;
	last->err = sk->sk_err;
	last->released = file_released(sk->sk_socket);
	if (ops->args[0] == TCP_SYN_RECV) /* may be the only record of a child */
		fill_addrs(last, &sk->__sk_common);
	*whose = cookie;
	wake_sleeper(); /* it collects what nothing confirms */
}

#endif
