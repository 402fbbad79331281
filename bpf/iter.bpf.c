// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The views' fast source: the kernel's TCP sockets and the open files of sockets
 * in one pass each, as fixed-size rows instead of text. They run in the context
 * of the process that reads them.
 */
#include "kernel.h"
#include "iter.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types of the rows in the object's BTF, for bpf2go. */
const struct tcp_row *tcp_row_type __attribute__((unused));
const struct owner_row *owner_row_type __attribute__((unused));

/* As sock_i_ino finds it. */
static __always_inline __u64 inode_of(struct socket *socket)
{
	unsigned long ino = 0;

	if (socket)
		bpf_core_read(&ino, sizeof(ino), &((struct socket_alloc *)socket)->vfs_inode.i_ino);
	return ino;
}

/* What get_tcp4_sock (net/ipv4/tcp_ipv4.c) prints of a full socket. */
static __always_inline void fill_full(struct tcp_row *r, struct sock *sk, bool inode)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	if (inode)
		r->inode = inode_of(sk->sk_socket);
	if (!tp)
		return;
	r->send_q = tp->write_seq - tp->snd_una;
	if (sk->__sk_common.skc_state == TCP_LISTEN)
		r->recv_q = sk->sk_ack_backlog;
	else if ((int)(tp->rcv_nxt - tp->copied_seq) > 0)
		r->recv_q = tp->rcv_nxt - tp->copied_seq;
}

static __always_inline int send_tcp_row(struct bpf_iter__tcp *ctx, bool inode)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_timewait_sock *tw;
	struct tcp_row r = {};
	struct sock *sk;

	if (!skc)
		return 0;
	r.family = skc->skc_family;
	if (r.family == AF_INET) {
		*(__u32 *)r.local_addr = skc->skc_rcv_saddr;
		*(__u32 *)r.remote_addr = skc->skc_daddr;
	} else {
		__u32 *local = (__u32 *)r.local_addr, *remote = (__u32 *)r.remote_addr;

		local[0] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		local[1] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		local[2] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		local[3] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		remote[0] = skc->skc_v6_daddr.in6_u.u6_addr32[0];
		remote[1] = skc->skc_v6_daddr.in6_u.u6_addr32[1];
		remote[2] = skc->skc_v6_daddr.in6_u.u6_addr32[2];
		remote[3] = skc->skc_v6_daddr.in6_u.u6_addr32[3];
	}
	r.local_port = skc->skc_num;
	r.remote_port = bpf_ntohs(skc->skc_dport);
	r.uid = ctx->uid;
	r.state = skc->skc_state;
	if (r.state == TCP_TIME_WAIT) {
		tw = bpf_skc_to_tcp_timewait_sock(skc);
		if (tw)
			r.state = tw->tw_sk.tw_substate;
	} else if (r.state == TCP_NEW_SYN_RECV) {
		r.state = TCP_SYN_RECV;
	} else {
		sk = (struct sock *)bpf_skc_to_tcp_sock(skc);
		if (sk)
			fill_full(&r, sk, inode);
	}
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}

SEC("iter/tcp")
int tcp_rows(struct bpf_iter__tcp *ctx)
{
	return send_tcp_row(ctx, true);
}

/* Without the inodes, each of which costs a miss of the caches. */
SEC("iter/tcp")
int tcp_rows_bare(struct bpf_iter__tcp *ctx)
{
	return send_tcp_row(ctx, false);
}

#define SOCKFS_MAGIC 0x534F434B /* include/uapi/linux/magic.h */

SEC("iter/task_file")
int owner_rows(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct owner_row r = {};

	/*
	 * Threads are no owners. What /proc shows as a socket is any file of sockfs,
	 * one opened with O_PATH too.
	 */
	if (!task || !file || task->tgid != task->pid ||
	    file->f_inode->i_sb->s_magic != SOCKFS_MAGIC)
		return 0;
	r.inode = file->f_inode->i_ino;
	r.pid = task->tgid;
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}
