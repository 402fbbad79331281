// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Unix sockets where no trampoline serves: all of them when the reader asks, and each
 * stream connect. The iterator shows what sock_diag and /proc do not: sockets that wait for
 * accept(), whose peer each is, and in the ring its rows have their place among the events.
 */
#include "unix.h"
#include "twice.h"

/* How many rows of a pass found no room. The reader asks once the pass is over. */
__u32 unix_rows_left_out;

/*
 * Reserves a row. Half of the ring is left to events: a pass is one read() of the reader,
 * and cannot wait for room, as it would be asked for the same socket again and again
 * within that.
 */
static __always_inline void *reserve_row(__u64 size)
{
	void *row = NULL;

	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) < 2 * wakeup_at)
		row = bpf_ringbuf_reserve(&events, size, 0);
	if (!row)
		__sync_fetch_and_add(&unix_rows_left_out, 1);
	return count_sent(row, TELLS_OTHER);
}

/*
 * The sockets of the reader's network namespace, 5.15 on. It writes nothing to the file: the
 * kernel would leave out the rest of a bucket where that is full (net/unix/af_unix.c,
 * bpf_iter_unix_batch, before 6.4).
 */
SEC("iter/unix")
int unix_rows(struct bpf_iter__unix *ctx)
{
	struct unix_sock *u = ctx->unix_sk;
	struct unix_event *e;
	__u64 cookie;
	__u32 netns;

	if (!u || !unix_in_scope(&u->sk, &netns, true))
		return 0;
	cookie = cookie_of(&u->sk);
	e = reserve_row(sizeof(*e));
	if (!e)
		return 0;
	unix_fill(e, u, SOCKET_SEEN, SOCKET_ROW, netns, cookie, false, true);
	submit(e);
	return 0;
}

/*
 * The start of a connect, of the calling thread: which socket connects is not known at its
 * end. It gives the socket a cookie, as this program may ask for it. 6.7 on.
 */
SEC("cgroup/connect_unix")
int unix_connect_cgroup(struct bpf_sock_addr *ctx)
{
	__u64 sk = 0;

	bpf_get_socket_cookie(ctx);
	bpf_probe_read_kernel(&sk, sizeof(sk), ctx);
	unix_enter(TWICE_UNIX_CONNECT, sk);
	return 1;
}

/*
 * The kernel calls this for a listener at the end of a connect, in the connecting process
 * (unix_stream_connect), and for every socket that gets a packet. Nothing else that wakes a
 * listener is done by a process that connects. 6.12 on. The sockets are only addresses here,
 * so that it takes probe reads.
 */
SEC("tp_btf/sk_data_ready")
int BPF_PROG(unix_data_ready, struct sock *sk)
{
	struct sock *client;
	__u32 netns;

	/* It is called for every packet of any socket: the state is one load. */
	if (sk->__sk_common.skc_family != AF_UNIX || sk->__sk_common.skc_state != TCP_LISTEN ||
	    !unix_in_scope(sk, &netns, true))
		return 0;
	client = unix_leave(TWICE_UNIX_CONNECT, 0);
	if (!client || !BPF_CORE_READ((struct unix_sock *)client, peer))
		return 0;
	return unix_probed_both(client, netns);
}
