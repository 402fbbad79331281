/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the record of a transition says besides the states: why a connection ends, its
 * counters, and whether a call of a process leads to it.
 */
#ifndef NETTRACE_TRANSITION_H
#define NETTRACE_TRANSITION_H

#include "stream.h"

/*
 * Whether every call names its process, as no hook sees accept. The loader sets it
 * once it knows.
 */
bool owner_by_use;

/* Whether the state program has a third copy. */
const volatile bool three_copies;

/*
 * Whether the current task makes the transition that a copy of the state program sees. A
 * second copy of two runs where the first one is active on the CPU, for a task that a softirq
 * interrupts: never for the call of a task. So the verifier need not go through all that is
 * said of one.
 */
static __always_inline bool in_call(const struct sock *sk, bool first)
{
	return (first || three_copies) && in_process_context(sk);
}

/*
 * How many bytes were sent at least once. bytes_acked counts what was acknowledged:
 * data, and the SYN of an active open. After it comes what is on the way: data, and
 * a FIN where everything is sent.
 */
static __always_inline __u64 bytes_out(const struct tcp_sock *tp, int from)
{
	__u64 bytes = tp->bytes_acked + (__u32)(tp->snd_nxt - tp->snd_una);
	bool fin = from == TCP_FIN_WAIT1 || from == TCP_FIN_WAIT2 || from == TCP_CLOSING ||
		   from == TCP_LAST_ACK;

	if (fin && tp->snd_nxt == tp->write_seq && bytes)
		bytes--;
	return bytes;
}

/* Fills in what says why a connection ends. */
static __always_inline void fill_reason(struct close_event *c, const struct sock *sk,
					const struct tcp_sock *tp)
{
	__u8 flags = sk->sk_shutdown & (CLOSE_RCV_SHUTDOWN | CLOSE_SEND_SHUTDOWN);
	struct socket *socket = sk->sk_socket;

	if (sk->__sk_common.skc_flags & 1UL << SOCK_DONE) /* tcp_fin alone sets it */
		flags |= CLOSE_GOT_FIN;
	if (tp->snd_nxt == tp->write_seq)
		flags |= CLOSE_ALL_SENT;
	if (tp->snd_una == tp->write_seq)
		flags |= CLOSE_ALL_ACKED;
	if (sk->sk_lock.owned)
		flags |= CLOSE_OWNED;
	c->flags = flags;
	c->err_soft = sk->sk_err_soft;
	/*
	 * A load through NULL gives 0, by way of an exception. 5.10 may look for its
	 * handler in the wrong table, where a program has functions, and panic.
	 */
	c->socket_state = 0;
	if (socket)
		c->socket_state = socket->state;
}

/* Fills in the record of an end. */
static __always_inline void fill_close(struct close_event *c, struct sock *sk,
				       const struct tcp_sock *tp, int from, __u32 netns,
				       __u64 cookie, bool process)
{
	fill_event(&c->event, EVENT_STATE, sk, netns, cookie, process);
	c->event.head.old_state = from;
	c->event.head.new_state = TCP_CLOSE;
	/* skc_num is cleared already, inet_sport is not (tcp_set_state). */
	c->event.local_port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	c->event.released = file_released(sk->sk_socket);
	if (from == TCP_SYN_SENT) /* may be the first record of a connect that fails at once */
		c->event.inode = file_inode(sk->sk_socket);
	fill_reason(c, sk, tp);
	c->bytes_sent = tp->bytes_sent;
	c->bytes_retrans = tp->bytes_retrans;
	c->bytes_out = bytes_out(tp, from);
	c->bytes_received = tp->bytes_received;
	if (c->flags & CLOSE_GOT_FIN && c->bytes_received) /* the kernel counts the FIN as a byte */
		c->bytes_received--;
	c->segs_out = tp->segs_out;
	c->segs_in = tp->segs_in;
	c->retrans = tp->total_retrans;
	c->rtt_us = tp->srtt_us >> 3;
	c->min_rtt_us = tp->rtt_min.s[0].v;
}

/*
 * Whether a call on the socket makes this transition, and nothing else does. Others may
 * be made by whoever owns the socket when a packet is handled, or destroys it
 * (tcp_abort, which sets sk_err): by ss(8), for one, which only looks.
 */
static __always_inline bool by_call(const struct sock *sk, int from, int to)
{
	switch (to) {
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		return true;
	case TCP_CLOSE:
		return !sk->sk_err &&
		       (from == TCP_SYN_SENT || from == TCP_SYN_RECV || from == TCP_ESTABLISHED ||
			from == TCP_CLOSE_WAIT || from == TCP_LISTEN || from == TCP_CLOSE);
	}
	return from == TCP_CLOSE || from == to;
}

#endif
