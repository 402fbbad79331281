/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where closes alone are told, the transitions of a connection are kept until its full
 * socket ends, and go with that into one record. This is compiled into an object of its own
 * (closes.bpf.c); in the other one none of it is there.
 *
 * What cannot be kept is sent as ever, and so is all that comes of a socket of which
 * nothing is kept: listeners, what began before the tracer, what the map had no room for.
 * The reader follows those.
 *
 * An entry is written under the lock of its socket, so that nobody writes into one that
 * was deleted and is another socket's by then. Who accepted is not, and has a map of its
 * own.
 */
#ifndef NETTRACE_KEEP_H
#define NETTRACE_KEEP_H

#include "stream.h"
#include "copy.h"
#include "owner.h"
#include "transition.h"
#include "keep_request.h"

#ifdef KEEP_CLOSES

#include "lives.h"

#define KEEPS true
#define EPIPE 32
#define ECONNRESET 104
#define ETIMEDOUT 110

/* Who accepted them, by cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct caller);
} acceptors SEC(".maps");

/* How many connections ended untold, as they did not fail. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} fine SEC(".maps");

const volatile bool only_failed; /* connections that did not fail are not told */

static __always_inline void count_fine(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&fine, &zero);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* Returns what is kept of a connection whose full socket lives, or NULL. */
static __always_inline struct life *life_of(__u64 cookie)
{
	struct life *l = find_life(cookie);

	return l && !(l->flags & LIFE_TOLD) ? l : NULL;
}

/* Returns the time of the record that says what a process is. */
static __always_inline __u64 process_known(__u32 task)
{
	struct seen *seen = bpf_map_lookup_elem(&processes, &task);

	return seen ? seen->sent : 0;
}

/* Fills in the current process. known says whether the reader knows it. */
static __always_inline void fill_by(struct caller *by, bool known)
{
	__u64 ids = known ? bpf_get_current_pid_tgid() : 0;

	by->cgroup = bpf_get_current_cgroup_id();
	by->task = ids >> 32;
	by->known = known ? process_known(by->task) : 0;
	by->tid = known ? tid_of(ids) : 0;
	fill_thread(by->thread);
}

/* Gives a child what its request socket knew, if that is known. */
static __always_inline void inherit_request(struct life *l, const struct sock_common *child,
					    __u32 netns)
{
	struct dropped_event *s = stopped_here();

	if (l->flags & LIFE_REQUEST)
		return;
	if (!s || !is_request_of(s, child, netns))
		return;
	l->start = s->request.event.head.time;
	l->listener = s->request.listener;
	l->flags |= LIFE_REQUEST;
	s->request.event.head.sk = 0;
}

/* Sends the request socket of a child that cannot be kept. */
static __always_inline void send_request_of(const struct sock_common *child, __u32 netns)
{
	struct dropped_event *s = stopped_here();
	struct request_event *r;

	if (!s || !is_request_of(s, child, netns))
		return;
	r = reserve(sizeof(*r), TELLS_STATE);
	if (r) {
		*r = s->request;
		r->event.head.kind = EVENT_MINI_BORN;
		submit(r);
	}
	s->request.event.head.sk = 0;
}

/* Fills in where a connection is: a reader that finds it gone has nothing else. */
static __always_inline void fill_place(struct life *l, const struct sock_common *skc, __u32 netns)
{
	l->family = skc->skc_family;
	l->netns = netns;
	l->device = skc->skc_bound_dev_if;
	l->remote_port = bpf_ntohs(skc->skc_dport);
	copy_addrs(l->local_addr, l->remote_addr, skc);
}

/* Keeps a transition. now is the time, where that is known already; else 0. */
static __always_inline void add_step(struct life *l, const struct sock_common *skc, int from,
				     int to, __u64 now)
{
	bool moves = l->flags & LIFE_INCOMING && !l->used_at;
	__u32 n = l->steps & 15;

	barrier_var(n); /* the verifier of 6.1 loses a bound that it only sees compared */
	if (from == to)
		return;
	l->local_port = skc->skc_num;
	if (!now && (moves || to == TCP_ESTABLISHED))
		now = bpf_ktime_get_ns();
	if (to == TCP_ESTABLISHED)
		l->established = now;
	if (moves)
		l->moved = now;
	if (n < LIFE_STEPS) {
		l->walk[n] = from << 4 | to;
		l->steps = n + 1;
	}
}

/* Whether the state of a socket shows that the tracer sees its connection begin. */
static __always_inline bool begins_here(int from, int to)
{
	if (from == TCP_CLOSE && to == TCP_SYN_SENT)
		return true;
	return from == TCP_SYN_RECV || (to == TCP_SYN_RECV && from != TCP_SYN_SENT);
}

/*
 * Whether a connection in SYN_RECV may have begun in SYN_SENT, which the map had no room for:
 * two sockets that connect to each other walk so. A child has no file yet, but for one of
 * Fast Open that was accepted: that one is sent too.
 */
static __always_inline bool may_have_connected(struct sock *sk, int from)
{
	return from == TCP_SYN_RECV && sk->sk_socket;
}

/*
 * Begins to keep a connection; false where it cannot be kept. told says that there still is what
 * was kept of a former one of the same socket.
 */
static __always_inline bool begin_life(struct sock *sk, int from, int to, __u32 netns, __u64 cookie,
				       bool told, bool first)
{
	struct life *l;
	__u64 now;

	if (!begins_here(from, to))
		return from == to && to == TCP_CLOSE; /* close() of a socket that has ended */
	if (!wanted_transition(sk, from, to))
		return true;
	l = told || to == TCP_CLOSE || may_have_connected(sk, from) ? NULL : new_life(cookie);
	if (!l) {
		/* The request socket is not known yet: the next transition tells. */
		if (to == TCP_SYN_RECV)
			return true;
		if (from == TCP_SYN_RECV)
			send_request_of(&sk->__sk_common, netns);
		return false;
	}
	l->start = now = bpf_ktime_get_ns();
	fill_place(l, &sk->__sk_common, netns);
	if (from == TCP_CLOSE && to == TCP_SYN_SENT) {
		if (in_call(sk, first) && send_process(first)) {
			fill_by(&l->by, true);
			l->flags = LIFE_OWNED;
		}
	} else {
		l->flags = LIFE_INCOMING;
		if (from == TCP_SYN_RECV)
			inherit_request(l, &sk->__sk_common, netns);
	}
	add_step(l, &sk->__sk_common, from, to, now);
	return true;
}

/* Keeps the process whose call leads to a transition, where no hook sees accept. */
static __always_inline void use_life(struct life *l, struct sock *sk, int from, int to, bool first)
{
	__u64 ids;

	if (!owner_by_use || l->flags & LIFE_OWNED || !by_call(sk, from, to) ||
	    !in_call(sk, first) || !send_process(first))
		return;
	if (!l->used_at)
		l->used_at = bpf_ktime_get_ns();
	ids = bpf_get_current_pid_tgid();
	l->used = ids >> 32;
	l->used_tid = tid_of(ids);
	l->used_known = process_known(l->used);
}

/*
 * Whether a connection certainly did not fail. After ESTABLISHED only an error that a host
 * on the way reported makes it one that failed (Outcome.Failed, tracer/table/change.go).
 */
static __always_inline bool is_fine(const struct life *l, const struct sock *sk)
{
	if (!only_failed || !l->established)
		return false;
	switch (sk->sk_err) {
	case 0:
	case ECONNRESET:
	case EPIPE:
	case ETIMEDOUT:
		return true;
	}
	return false;
}

/* Whether a hook may have seen who accepted a connection. */
static __always_inline bool may_be_accepted(const struct life *l)
{
	return !owner_by_use && l->flags & LIFE_INCOMING;
}

/* Sends all that was kept; false where the ring has no room. */
static __always_inline bool send_life(struct life *l, struct sock *sk, int from, __u32 netns,
				      __u64 cookie)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct life_event *e;
	struct caller *by = NULL;

	if (!tp)
		return false;
	if (may_be_accepted(l))
		by = bpf_map_lookup_elem(&acceptors, &cookie);
	e = reserve(offsetof(struct life_event, life.family), TELLS_CLOSE);
	if (!e)
		return false;
	fill_close(&e->close, sk, tp, from, netns, cookie, false);
	e->close.event.head.kind = EVENT_LIFE;
	__builtin_memcpy(&e->life, l, offsetof(struct life, family));
	if (by) {
		e->life.by = *by;
		e->life.flags |= LIFE_ACCEPTED;
	}
	submit(e);
	return true;
}

static __always_inline void end_life(struct life *l, struct sock *sk, int from, __u32 netns,
				     __u64 cookie, bool first)
{
	bool waits = false;

	if (!wanted_transition(sk, from, TCP_CLOSE)) {
		/* It had no port yet when it began. */
	} else if (is_fine(l, sk)) {
		count_fine();
	} else {
		use_life(l, sk, from, TCP_CLOSE, first);
		waits = send_life(l, sk, from, netns, cookie) && l->timewait &&
			l->substate == TCP_FIN_WAIT2;
	}
	if (waits)
		l->flags |= LIFE_TOLD;
	else
		forget_life(cookie);
	if (may_be_accepted(l))
		bpf_map_delete_elem(&acceptors, &cookie);
}

/* Keeps a transition; false where it has to be sent. */
static __always_inline bool keep_transition(struct sock *sk, int from, int to, __u32 netns,
					    bool first)
{
	__u64 cookie = cookie_of(sk);
	struct life *l = find_life(cookie);
	bool told = l && l->flags & LIFE_TOLD;

	if (l && !told && from == TCP_CLOSE) {
		/* No program saw the end of the former life. */
		count(COUNT_DROPPED + TELLS_CLOSE);
		forget_life(cookie);
		l = NULL;
	}
	if (!l || told)
		return begin_life(sk, from, to, netns, cookie, told, first);
	if (from == TCP_SYN_RECV && l->flags & LIFE_INCOMING)
		inherit_request(l, &sk->__sk_common, netns);
	if (to == TCP_CLOSE) {
		end_life(l, sk, from, netns, cookie, first);
		return true;
	}
	use_life(l, sk, from, to, first);
	add_step(l, &sk->__sk_common, from, to, 0);
	return true;
}

/* Keeps who accepted a connection; false where that has to be sent. */
static __always_inline bool keep_accept(__u64 cookie, bool known)
{
	struct caller by = {};

	if (!life_of(cookie))
		return false;
	fill_by(&by, known);
	if (bpf_map_update_elem(&acceptors, &cookie, &by, BPF_ANY))
		count(COUNT_DROPPED + TELLS_OTHER);
	if (!life_of(cookie)) /* it ended meanwhile, perhaps before this was there */
		bpf_map_delete_elem(&acceptors, &cookie);
	return true;
}

/* Keeps that a RST was sent, in a state; false where that has to be sent. */
static __always_inline bool keep_reset(__u64 cookie, __u8 state)
{
	struct life *l = life_of(cookie);

	if (!l)
		return false;
	if (state != TCP_SYN_SENT && state != TCP_SYN_RECV)
		l->flags |= LIFE_RESET_SENT;
	return true;
}

/* Keeps an ICMP error that waits; false where that has to be sent. */
static __always_inline bool keep_icmp(__u64 cookie, int err)
{
	struct life *l = life_of(cookie);

	if (!l)
		return false;
	l->icmp = err;
	return true;
}

#else

#define KEEPS false
#define keep_transition(sk, from, to, netns, first) false
#define keep_accept(cookie, known) false
#define keep_reset(cookie, state) false
#define keep_icmp(cookie, err) false

#endif

#endif
