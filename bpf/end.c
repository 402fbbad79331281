// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Why connections end, where the last transition does not say it: resets that are
 * sent, what ends a timewait socket, and connects that fail at once.
 */
#include "stream.h"
#include "owner.h"
#include "twice.h"
#include "keep.h"

/* include/net/tcp.h and include/net/inet_timewait_sock.h: enum tcp_tw_status */
#define TCP_TW_SUCCESS 0
#define TCP_TW_RST 1

#define TCP_FLAG_RST_BYTE 13 /* of the TCP header (RFC 9293, 3.1) */
#define TCP_FLAG_RST_BIT 4

/* The least lengths that connect() takes (tcp_v4_connect, tcp_v6_connect). */
#define SOCKADDR_IN 16
#define SOCKADDR_IN6 24
#define EAFNOSUPPORT 97

/*
 * A RST that is sent. Any context, all kernels. sk is a full socket, and since 6.10
 * also a timewait or request socket, a listener, or NULL.
 */
static __always_inline int reset_sent(const struct sock *sk)
{
	struct event_head *h;
	__u64 cookie;
	__u32 netns;
	__u8 state;

	if (!sk)
		return 0;
	state = sk->__sk_common.skc_state;
	if (state == TCP_LISTEN || state == TCP_NEW_SYN_RECV)
		return 0;
	/* Nothing beyond sock_common: a timewait socket ends there. TCP alone calls it. */
	if (!wanted_sock(&sk->__sk_common) ||
	    !traced(IPPROTO_TCP, sk->__sk_common.skc_family, netns = netns_of(&sk->__sk_common)))
		return 0;
	cookie = sk->__sk_common.skc_cookie.counter;
	if (state != TCP_TIME_WAIT && keep_reset(cookie, state))
		return 0;
	if (handled_already(TWICE_RESET, sk, cookie))
		return 0;
	h = reserve(sizeof(*h), TELLS_OTHER);
	if (!h)
		return 0;
	fill_head(h, EVENT_RESET_SENT, &sk->__sk_common, netns, cookie, false);
	h->old_state = state;
	submit(h);
	return 0;
}

/* Twice: a softirq may interrupt the program of a process, and would be skipped. */
TWICE("tp_btf/tcp_send_reset", reset_sent, reset_sent(sk), const struct sock *sk)

/*
 * A segment that ends a timewait socket: a RST, or one that is answered by a RST.
 * Softirq. The memory of the timewait socket may be free by then, so that only its
 * address is used, which the reader knows if the socket is traced.
 */
SEC("fexit/tcp_timewait_state_process")
int BPF_PROG(timewait_fexit, struct inet_timewait_sock *tw, void *skb, const __u8 *th)
{
	bool rst = th[TCP_FLAG_RST_BYTE] & TCP_FLAG_RST_BIT;
	struct event_head *h;
	__u64 status;

	/* The number of arguments differs from kernel to kernel, and so does the place
	 * of the result (5.17 has the helper). */
	if (bpf_get_func_ret(ctx, &status))
		return 0;
	if ((__u32)status != TCP_TW_RST && !(rst && (__u32)status == TCP_TW_SUCCESS))
		return 0;
	h = reserve(sizeof(*h), TELLS_OTHER);
	if (!h)
		return 0;
	__builtin_memset(h, 0, sizeof(*h));
	h->time = bpf_ktime_get_ns();
	h->kind = rst ? EVENT_RESET_CAME : EVENT_RESET_SENT;
	h->old_state = TCP_TIME_WAIT;
	h->sk = (__u64)tw;
	submit(h);
	return 0;
}

/* Fills in the address that connect() was called with: the socket may not have it. */
static __always_inline void fill_target(struct event *e, const void *to)
{
	bool v4 = e->head.family == AF_INET;
	__u8 raw[SOCKADDR_IN6] = {};

	__builtin_memset(e->remote_addr, 0, sizeof(e->remote_addr));
	e->remote_port = 0;
	/* Under lockdown=confidentiality the address stays unknown. */
	if (!can_probe || bpf_probe_read_kernel(raw, v4 ? SOCKADDR_IN : SOCKADDR_IN6, to))
		return;
	e->remote_port = bpf_ntohs(*(__u16 *)(raw + 2));
	if (v4)
		*(__u32 *)e->remote_addr = *(__u32 *)(raw + 4);
	else
		__builtin_memcpy(e->remote_addr, raw + 8, 16);
}

/* The failed connect that a copy of the hook handled last, by thread: its socket. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} failed SEC(".maps");

/*
 * Whether the other copy has handled this call: see handled_already. Each of these
 * records stands for a call, so that one too many would be wrong. A mark by thread
 * holds also where others come in between.
 */
static __always_inline bool failure_handled(const struct sock *sk)
{
	__u64 now = (__u64)sk, *mark;
	__u32 tid = bpf_get_current_pid_tgid();

	mark = bpf_map_lookup_elem(&failed, &tid);
	if (mark && *mark == now) {
		bpf_map_delete_elem(&failed, &tid);
		return true;
	}
	bpf_map_update_elem(&failed, &tid, &now, BPF_ANY);
	return false;
}

/*
 * Whether the SYN waits for the first write (tcp_fastopen_defer_connect,
 * net/ipv4/tcp_fastopen.c). The socket has its port, and tcp_connect was not called.
 */
static __always_inline bool deferred(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	return tp && !tp->segs_out;
}

/*
 * Sends a connect that failed at once, often without any transition, and the port of
 * one that is deferred. It sends also an ICMP error that came while connect() held the
 * socket: the program may take it by SO_ERROR, and nothing says so later. Process
 * context.
 */
static __always_inline int connect_returns(struct sock *sk, const void *to, int len, int err)
{
	__u8 state = sk->__sk_common.skc_state;
	struct owner_event *o;
	__u32 netns;
	bool known;

	/* A call with a wrong argument names no peer. */
	if (len < (sk->__sk_common.skc_family == AF_INET ? SOCKADDR_IN : SOCKADDR_IN6) ||
	    err == -EAFNOSUPPORT)
		return 0;
	if (!err && state == TCP_SYN_SENT) {
		if (deferred(sk))
			return connects(TWICE_DEFERRED, sk);
		err = -sk->sk_err_soft;
	}
	/* It may have no address and no port by now. */
	if (err >= 0 || !wanted(&sk->__sk_common, 0, LISTENER_UNKNOWN) || !in_scope(sk, &netns) ||
	    failure_handled(sk))
		return 0;
	if (state == TCP_SYN_SENT && keep_icmp(cookie_of(sk), -err))
		return 0;
	known = in_process_context(sk) && send_process(true);
	o = reserve(sizeof(*o), state == TCP_CLOSE ? TELLS_FAILED : TELLS_OTHER);
	if (!o)
		return 0;
	fill_event(&o->event, EVENT_CONNECT_FAILED, sk, netns, cookie_of(sk), known);
	fill_target(&o->event, to);
	o->event.head.new_state = state;
	o->event.err = -err;
	o->event.inode = file_inode(sk->sk_socket);
	fill_caller(o);
	submit(o);
	return 0;
}

/* tcp_v6_connect calls it for IPv4 peers of an IPv6 socket, and reports them itself. */
static __always_inline int connect4_returns(struct sock *sk, const void *to, int len, int err)
{
	if (sk->__sk_common.skc_family != AF_INET)
		return 0;
	return connect_returns(sk, to, len, err);
}

TWICE("fexit/tcp_v4_connect", connect4_fexit, connect4_returns(sk, to, len, ret), struct sock *sk,
      void *to, int len, int ret)
TWICE("fexit/tcp_v6_connect", connect6_fexit, connect_returns(sk, to, len, ret), struct sock *sk,
      void *to, int len, int ret)
