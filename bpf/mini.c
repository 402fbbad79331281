// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Request and timewait sockets ("mini sockets"). inet_sock_set_state does not report
 * them; their timers show birth and death. Softirq or process context, all kernels.
 * timer_start and timer_cancel run for every timer of the machine, so the timer's
 * function is compared first.
 */
#include "stream.h"
#include "copy.h"
#include "twice.h"
#include "keep_request.h"
#include "keep_timewait.h"

#define REFRESH_MAX 512

struct refresh_args {
	__u32 count;
};

/* The timewait sockets that mini_refresh is to look at. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, REFRESH_MAX);
	__type(key, __u32);
	__type(value, struct mini_ref);
} mini_refs SEC(".maps");

/* Whether memory that may be a socket is one of TCP, in a state. */
static __always_inline bool is_tcp(const struct sock_common *skc, __u8 state)
{
	struct proto *proto;
	__u16 family;
	__u32 name = 0;

	if (BPF_CORE_READ(skc, skc_state) != state)
		return false;
	family = BPF_CORE_READ(skc, skc_family);
	if (family != AF_INET && family != AF_INET6)
		return false;
	proto = BPF_CORE_READ(skc, skc_prot);
	if (!proto || bpf_core_read(&name, sizeof(name), &proto->name))
		return false;
	/* "TCP" and its NUL, or "TCPv6" (net/ipv4/tcp_ipv4.c, net/ipv6/tcp_ipv6.c) */
	return name == bpf_htonl('T' << 24 | 'C' << 16 | 'P' << 8) ||
	       name == bpf_htonl('T' << 24 | 'C' << 16 | 'P' << 8 | 'v');
}

/*
 * Learns the timer functions where the loader did not find them: a timer is that of a
 * mini socket if it lies in one, at its place. All the memory around is read by probe, as
 * it may be anything.
 */
static __always_inline bool learn_mini(struct timer_list *timer, __u64 function,
				       struct sock_common **skc, bool *timewait)
{
	struct sock_common *tw, *req;

	tw = (void *)timer - bpf_core_field_offset(struct inet_timewait_sock, tw_timer);
	req = (void *)timer - bpf_core_field_offset(struct request_sock, rsk_timer);
	if (!tw_timer_handler && is_tcp(tw, TCP_TIME_WAIT)) {
		tw_timer_handler = function;
		*skc = tw;
		*timewait = true;
		return true;
	}
	if (!reqsk_timer_handler && is_tcp(req, TCP_NEW_SYN_RECV)) {
		reqsk_timer_handler = function;
		*skc = req;
		*timewait = false;
		return true;
	}
	return false;
}

/* Finds the mini socket that a timer is part of; false for every other timer. */
static __always_inline bool is_mini(struct timer_list *timer, struct sock_common **skc,
				    bool *timewait)
{
	__u64 function = (__u64)timer->function;

	if (!function)
		return false;
	if (function == tw_timer_handler) {
		*skc = (void *)timer - bpf_core_field_offset(struct inet_timewait_sock, tw_timer);
		*timewait = true;
		return true;
	}
	if (function == reqsk_timer_handler) {
		*skc = (void *)timer - bpf_core_field_offset(struct request_sock, rsk_timer);
		*timewait = false;
		return true;
	}
	return learn_mini(timer, function, skc, timewait);
}

/*
 * Sends the birth of a request socket. It has the very listener that can accept it,
 * where several share an address and a port (inet_reqsk_alloc, net/ipv4/tcp_input.c).
 * The listener has a cookie where programs can ask for it: the one of its first
 * transition has, or the reader when it read its row.
 */
static __always_inline int send_request(const struct sock_common *skc, const struct copy *c)
{
	struct sock *listener = common_of(c)->skc_listener;
	struct request_event *r;
	__u64 cookie = 0;

	r = reserve(sizeof(*r), TELLS_STATE);
	if (!r)
		return 0;
	copy_event(&r->event, EVENT_MINI_BORN, skc, c);
	r->event.head.new_state = TCP_SYN_RECV;
	r->event.uid = listener ? BPF_CORE_READ(listener, sk_uid.val) : UID_UNKNOWN;
	r->listener = (__u64)listener;
	if (listener)
		cookie = BPF_CORE_READ(listener, __sk_common.skc_cookie.counter);
	if (cookie)
		r->listener = cookie;
	submit(r);
	return 0;
}

SEC("tp_btf/timer_start")
int BPF_PROG(mini_born, struct timer_list *timer)
{
	struct sock_common *skc;
	struct event *e;
	struct copy c;
	bool timewait;
	__u8 state;

	if (!is_mini(timer, &skc, &timewait) || (!timewait && keep_request(skc, &c)) ||
	    !copy_sock(&c, skc))
		return 0;
	if (!timewait)
		return send_request(skc, &c);
	state = BPF_CORE_READ((struct inet_timewait_sock *)skc, tw_substate);
	if (keep_timewait(skc, common_of(&c)->skc_cookie.counter, state))
		return 0;
	e = reserve(sizeof(*e), TELLS_OTHER);
	if (!e)
		return 0;
	copy_event(e, EVENT_MINI_BORN, skc, &c);
	e->head.new_state = state;
	submit(e);
	return 0;
}

/*
 * What the end of a timewait socket tells. In TIME_WAIT the close was told before; and the
 * timer may just be started again.
 */
static __always_inline enum tells tells_end(__u8 substate)
{
	return substate == TCP_TIME_WAIT ? TELLS_STATE : TELLS_CLOSE;
}

SEC("tp_btf/timer_cancel")
int BPF_PROG(mini_gone, struct timer_list *timer)
{
	struct sock_common *skc;
	struct event_head *h;
	struct copy c;
	__u8 state = TCP_SYN_RECV;
	bool timewait;

	if (!is_mini(timer, &skc, &timewait) || !copy_sock(&c, skc))
		return 0;
	if (timewait)
		state = BPF_CORE_READ((struct inet_timewait_sock *)skc, tw_substate);
	if (timewait ? keep_timewait_end(common_of(&c)->skc_cookie.counter, state)
		     : keep_request_end(skc, &c))
		return 0;
	h = reserve(sizeof(*h), timewait ? tells_end(state) : TELLS_OTHER);
	if (!h)
		return 0;
	copy_head(h, EVENT_MINI_GONE, skc, &c);
	h->old_state = state;
	h->tid = this_cpu();
	submit(h);
	return 0;
}

/*
 * The timer of a timewait socket fired in FIN_WAIT2: the peer's FIN did not come
 * within tcp_fin_timeout. timer_cancel has reported the end just before.
 */
SEC("tp_btf/timer_expire_entry")
int BPF_PROG(mini_expired, struct timer_list *timer)
{
	struct sock_common *skc;
	struct event_head *h;
	struct copy c;
	bool timewait;

	if (!is_mini(timer, &skc, &timewait) || !timewait)
		return 0;
	if (BPF_CORE_READ((struct inet_timewait_sock *)skc, tw_substate) != TCP_FIN_WAIT2 ||
	    !copy_sock(&c, skc))
		return 0;
	h = reserve(sizeof(*h), TELLS_OTHER);
	if (!h)
		return 0;
	copy_head(h, EVENT_MINI_EXPIRED, skc, &c);
	submit(h);
	return 0;
}

/*
 * A timewait socket went FIN_WAIT2 -> TIME_WAIT. That starts its timer again, often
 * into the bucket where it is already, which no timer tracepoint shows.
 */
static __always_inline int timewait_scheduled(struct inet_timewait_sock *tw, __u64 rearm)
{
	struct event_head *h;
	__u64 cookie;
	__u32 netns;

	/* A bool: the rest of its register, or of its place on the stack, is anything. */
	if (!(__u8)rearm || tw->tw_substate != TCP_TIME_WAIT)
		return 0;
	if (!wanted_sock(&tw->__tw_common) ||
	    !traced(IPPROTO_TCP, tw->__tw_common.skc_family, netns = netns_of(&tw->__tw_common)))
		return 0;
	cookie = tw->__tw_common.skc_cookie.counter;
	if (handled_already(TWICE_SUBSTATE, tw, cookie) || keep_timewait_change(cookie))
		return 0;
	h = reserve(sizeof(*h), TELLS_CLOSE);
	if (!h)
		return 0;
	fill_head(h, EVENT_MINI_STATE, &tw->__tw_common, netns, cookie, false);
	h->new_state = TCP_TIME_WAIT;
	submit(h);
	return 0;
}

TWICE("fentry/__inet_twsk_schedule", mini_state, timewait_scheduled(tw, rearm),
      struct inet_timewait_sock *tw, int timeout, __u64 rearm)

/* Sends the same of a copied socket; false where the ring has no room. */
static __always_inline bool send_mini_state(const void *tw, const struct copy *c)
{
	struct event_head *h;

	if (keep_timewait_change(common_of(c)->skc_cookie.counter))
		return true;
	h = reserve(sizeof(*h), TELLS_CLOSE);
	if (!h)
		return false;
	copy_head(h, EVENT_MINI_STATE, tw, c);
	h->new_state = TCP_TIME_WAIT;
	submit(h);
	return true;
}

SEC("kprobe/__inet_twsk_schedule")
int mini_state_kprobe(struct pt_regs *ctx)
{
	struct inet_timewait_sock *tw = (struct inet_timewait_sock *)kprobe_arg1(ctx);
	struct copy c;

	if (!(__u8)kprobe_arg3(ctx) || BPF_CORE_READ(tw, tw_substate) != TCP_TIME_WAIT ||
	    !copy_sock(&c, tw))
		return 0;
	send_mini_state(tw, &c);
	return 0;
}

/*
 * The same where neither loads: the reader names timewait sockets, and this looks
 * at each of them. Its memory may be freed or another socket's by then: the cookie
 * must be the one that the reader knows.
 */
static long refresh_one(void *map, __u32 *index, struct mini_ref *ref, struct refresh_args *args)
{
	struct inet_timewait_sock *tw = (struct inet_timewait_sock *)ref->sk;
	struct copy c;

	if (*index >= args->count)
		return 1;
	if (BPF_CORE_READ(tw, tw_substate) != TCP_TIME_WAIT || !copy_sock(&c, tw) ||
	    common_of(&c)->skc_cookie.counter != ref->cookie)
		return 0;
	return !send_mini_state(tw, &c);
}

SEC("syscall")
int mini_refresh(struct refresh_args *ctx)
{
	struct refresh_args args = {.count = ctx->count};

	/* Not a loop: the verifier would walk it entry by entry, for 80 ms. */
	bpf_for_each_map_elem(&mini_refs, refresh_one, &args, 0);
	return 0;
}
