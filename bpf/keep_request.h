/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Request sockets where closes alone are told: nothing is sent of one that becomes a
 * connection, which takes over when it was born and whose it is.
 */
#ifndef NETTRACE_KEEP_REQUEST_H
#define NETTRACE_KEEP_REQUEST_H

#include "stream.h"
#include "copy.h"

#ifdef KEEP_CLOSES

/*
 * The request socket whose timer stopped last on this CPU. What becomes of it comes next on
 * this CPU, in the softirq that stopped the timer: see decide in tracer/table/minis.go. Where
 * another one's timer stops first, it ended; what stays here the reader collects. Its
 * address is 0 once its child came, or its timer was started again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dropped_event);
} last_stopped SEC(".maps");

static __always_inline struct dropped_event *stopped_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&last_stopped, &zero);
}

/*
 * Whether a request socket is that of a child. Both are of one family (tcp_check_req). Not
 * inlined: the stack of the addresses would be in use while send_names runs.
 */
static __noinline bool is_request_of(const struct dropped_event *s, const struct sock_common *child,
				     __u32 netns)
{
	const struct event *req = &s->request.event;
	const __u64 *local = (const __u64 *)req->local_addr;
	const __u64 *remote = (const __u64 *)req->remote_addr;
	__u64 addrs[4];

	if (!req->head.sk || req->head.netns != netns || req->local_port != child->skc_num ||
	    req->remote_port != bpf_ntohs(child->skc_dport))
		return false;
	copy_addrs((__u8 *)&addrs[0], (__u8 *)&addrs[2], child);
	return local[0] == addrs[0] && local[1] == addrs[1] && remote[0] == addrs[2] &&
	       remote[1] == addrs[3];
}

/* Sends a request that never became a connection. */
static __always_inline void send_dropped(struct dropped_event *s)
{
	struct dropped_event *d = reserve(sizeof(*d), TELLS_CLOSE);

	if (d) {
		*d = *s;
		submit(d);
	}
	s->request.event.head.sk = 0;
}

/* Keeps the birth of a request socket, or that its timer was started again. */
static __always_inline bool keep_request(const void *req, struct copy *c)
{
	struct dropped_event *s = stopped_here();

	if (s && s->request.event.head.sk == (__u64)req && copy_sock(c, req) &&
	    is_request_of(s, common_of(c), c->netns))
		s->request.event.head.sk = 0;
	return true;
}

/*
 * Keeps a request socket whose timer stopped. Its first SYN-ACK was sent right after its
 * birth (tcp_conn_request, net/ipv4/tcp_input.c).
 */
static __always_inline bool keep_request_end(const struct sock_common *skc, const struct copy *c)
{
	struct sock *listener = common_of(c)->skc_listener;
	struct dropped_event *s = stopped_here();
	struct event *e;
	__u64 cookie = 0, born;

	if (!s)
		return false;
	e = &s->request.event;
	if (e->head.sk)
		send_dropped(s);
	s->gone = bpf_ktime_get_ns();
	copy_event(e, EVENT_DROPPED, NULL, c);
	born = BPF_CORE_READ((struct tcp_request_sock *)skc, snt_synack) * 1000;
	e->head.time = born && born < s->gone ? born : s->gone;
	e->head.new_state = TCP_SYN_RECV;
	e->cpu = 0; /* it was before other records of this CPU */
	e->uid = UID_UNKNOWN;
	if (listener) {
		e->uid = BPF_CORE_READ(listener, sk_uid.val);
		cookie = BPF_CORE_READ(listener, __sk_common.skc_cookie.counter);
	}
	s->request.listener = cookie ? cookie : (__u64)listener;
	e->head.sk = (__u64)skc;
	wake_sleeper(); /* it collects what nothing follows */
	return true;
}

#else

#define keep_request(req, copy) false
#define keep_request_end(skc, copy) false

#endif

#endif
