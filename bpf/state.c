// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Every transition of every TCP socket. Any context, all kernels; one record for a
 * transition, longer where the current process made it and where it ends the
 * connection.
 */
#include "stream.h"
#include "owner.h"
#include "transition.h"
#include "keep.h"
#include "witness.h"

/* A transition that a copy of the state program has handled; sk is 0 where there is none. */
struct mark {
	__u64 sk;
	__u64 states;
};

/* The transitions of this CPU that some of the copies have yet to see. */
struct marks {
	struct mark last; /* the one that was handled last */
	/*
	 * The one that was it before, if another one came before all copies had seen it:
	 * in a softirq, which interrupts a task between two copies.
	 */
	struct mark interrupted;
	__u64 at; /* when that was */
};

/*
 * How long an interrupted transition is known, in ns. A softirq takes no longer; where a copy
 * was skipped, it stays until then.
 */
#define INTERRUPTED_NS 10000000

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct marks);
} marks SEC(".maps");

static __always_inline bool is_marked(const struct mark *m, const struct sock *sk, __u64 states)
{
	return m->sk == (__u64)sk && m->states == states;
}

/* Whether a copy before this one has handled a transition. The last one forgets it. */
static __always_inline bool handled_before(struct marks *m, const struct sock *sk, __u64 states,
					   bool last)
{
	if (is_marked(&m->last, sk, states)) {
		if (last)
			m->last.sk = 0; /* it may make the same transition again */
		return true;
	}
	if (!is_marked(&m->interrupted, sk, states) || bpf_ktime_get_ns() - m->at > INTERRUPTED_NS)
		return false;
	if (last) /* what interrupted it is over, and its last copy may have been skipped */
		m->interrupted.sk = m->last.sk = 0;
	return true;
}

/*
 * Has the copies after this one know that a transition is handled. The last copy has none
 * after it, and leaves what it finds: the mark may be that of the task that it interrupts.
 */
static __always_inline void mark_handled(struct marks *m, const struct sock *sk, __u64 states)
{
	__u64 now;

	if (m->last.sk) {
		now = bpf_ktime_get_ns();
		if (!m->interrupted.sk || now - m->at > INTERRUPTED_NS) {
			m->interrupted = m->last;
			m->at = now;
		}
	}
	m->last.sk = (__u64)sk;
	m->last.states = states;
}

static __always_inline int send_close(struct sock *sk, int from, __u32 netns, __u64 cookie,
				      bool process)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct close_event *c;

	if (!tp)
		return 0;
	c = reserve(sizeof(*c), tells_of(from, TCP_CLOSE));
	if (!c)
		return 0;
	fill_close(c, sk, tp, from, netns, cookie, process);
	submit(c);
	return 0;
}

/*
 * The same socket, as a pointer that the verifier does not trust. For each pointer that is
 * loaded through a trusted one it searches all types of the kernel by name, four times
 * (check_ptr_to_btf_access, kernel/bpf/verifier.c, 6.12): two thirds of its time.
 */
static __always_inline struct sock *plain(struct sock *sk)
{
	if (!traced_kind(sk->sk_protocol, sk->__sk_common.skc_family))
		return NULL;
	return (struct sock *)bpf_skc_to_tcp_sock(sk);
}

static __always_inline int handle_state(struct sock *trusted, int from, int to, bool first)
{
	struct sock *sk = plain(trusted);
	struct event *e;
	__u64 cookie;
	__u32 netns;
	bool process;

	if (!sk || !in_scope(sk, &netns))
		return 0;
	/*
	 * A child just cloned from its listener. Before 6.18 it still has the
	 * listener's cookie and no addresses (inet_csk_clone_lock). The record of its
	 * request socket has reported the state already. from is CLOSE where the listener was
	 * closed in between.
	 */
	if (to == TCP_SYN_RECV && !sk->__sk_common.skc_dport)
		return 0;
	if (keep_transition(sk, from, to, netns, first) ||
	    (KEEPS && to == TCP_CLOSE && !wanted_transition(sk, from, to)))
		return 0;
	cookie = cookie_of(sk);
	if (!KEEPS && sockops_attached)
		confirm(cookie, from, to);
	process = by_call(sk, from, to) && in_call(sk, first);
	if (process && (from == TCP_CLOSE || from == TCP_SYN_SENT || owner_by_use))
		process = send_process(first);
	if (to == TCP_CLOSE)
		return send_close(sk, from, netns, cookie, process);
	if (process && from == TCP_CLOSE)
		return send_owner(sk, EVENT_STATE, from, to, sk->sk_socket, netns, cookie, true);
	e = reserve(sizeof(*e), tells_of(from, to));
	if (!e)
		return 0;
	fill_event(e, EVENT_STATE, sk, netns, cookie, process);
	e->head.old_state = from;
	e->head.new_state = to;
	if (to == TCP_FIN_WAIT1 || to == TCP_LAST_ACK)
		e->released = file_released(sk->sk_socket);
	submit(e);
	return 0;
}

/*
 * Whether the hook that knows the port reports the transition. With TCP_FASTOPEN_CONNECT
 * that may be called only by the first write: then this reports it, without a port. So it
 * does for a socket that was connected before, which still has its former port
 * (tcp_disconnect): should there be no port now, its end would look like one told twice.
 */
static __always_inline bool left_to_connect(struct sock *sk, int from, int to)
{
	struct tcp_sock *tp;

	if (!connect_reported || from != TCP_CLOSE || to != TCP_SYN_SENT || sk->__sk_common.skc_num)
		return false;
	if (!has_cookie) /* a former socket may have had the address: the same again */
		return false;
	tp = bpf_skc_to_tcp_sock(sk);
	return tp && !tp->inet_conn.icsk_inet.inet_sport &&
	       !BPF_CORE_READ_BITFIELD(tp, fastopen_connect);
}

/*
 * Handles a transition in one of two or three copies of the state program. Since 6.1 the
 * kernel skips a tracing program that is active on this CPU already
 * (__bpf_trace_run), so a softirq that interrupts it would lose its transitions.
 * The copies are attached in order, and each handles what none before it did.
 *
 * Two copies suffice where the kernel calls tracepoints with preemption off
 * (preempt_disable_notrace in __DO_TRACE, include/linux/tracepoint.h, 5.10 to 6.19): no
 * other task runs on the CPU before the program of a task is over, softirqs do not
 * interrupt each other, and neither a hard interrupt nor an NMI changes the state of a
 * socket. So a program runs at most twice on a CPU at the same time: for a task, and for a
 * softirq that interrupts it. Each keeps one copy at most. Where tracepoints are
 * guarded by SRCU instead (7.0 on) a task may be preempted within the program, and a
 * second one can keep another copy.
 *
 * Only the first one sends executables: that is half of what the verifier has to go
 * through. What is not wanted needs no mark: each copy finds that out as fast.
 */
static __always_inline int handle_once(struct sock *sk, int from, int to, bool first, bool last)
{
	__u64 states = (__u64)from << 32 | (__u32)to;
	struct marks *m;
	__u32 zero = 0;

	if (!KEEPS && left_to_connect(sk, from, to))
		return 0;
	/* What is kept of a connection has to be dropped at its end, wanted or not. */
	if (wanted_term_count && !(KEEPS && to == TCP_CLOSE) &&
	    (!traced_kind(sk->sk_protocol, sk->__sk_common.skc_family) ||
	     !wanted_transition(sk, from, to)))
		return 0;
	m = bpf_map_lookup_elem(&marks, &zero);
	if (!m || (!first && handled_before(m, sk, states, last)))
		return 0;
	handle_state(sk, from, to, first);
	if (!last)
		mark_handled(m, sk, states);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_a, struct sock *sk, int from, int to)
{
	return handle_once(sk, from, to, true, false);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_b, struct sock *sk, int from, int to)
{
	return handle_once(sk, from, to, false, !three_copies);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_c, struct sock *sk, int from, int to)
{
	return handle_once(sk, from, to, false, true);
}
