// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Which processes hold which sockets. The iterator runs in the context of our own
 * process when it asks. The sockets themselves are read from sock_diag: "Where the rows
 * come from" in ARCHITECTURE.md says why there is no iterator over them.
 */
#include "stream.h"

/*
 * Reserves a record of the iterator; NULL, not counted, where a quarter of the ring is in
 * use. It can wait for room, the events that happen meanwhile cannot.
 */
static __always_inline void *reserve_later(__u64 size)
{
	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_at)
		return NULL;
	return count_sent(bpf_ringbuf_reserve(&events, size, 0), TELLS_OTHER);
}

/*
 * Sends a record for each socket that a process has open. Returning 1 makes the kernel
 * show the file again; that is how it waits for room. bpf_sock_from_file: 5.11.
 * The file of an MPTCP connection is that of its MPTCP socket, which has the inode of
 * its subflows. Its cookie does not tell it apart: an accepted one is a clone of its
 * listener, with the same cookie.
 */
SEC("iter/task_file")
int files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct file_event *f;
	struct socket *socket;
	struct sock *sk;
	__u32 netns;
	bool mptcp;

	if (!file || !task || task->tgid != task->pid)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	mptcp = sk->sk_protocol == IPPROTO_MPTCP;
	if (!traced(mptcp ? IPPROTO_TCP : sk->sk_protocol, sk->__sk_common.skc_family,
		    netns = netns_of(&sk->__sk_common)) ||
	    (!mptcp && !wanted_sock(&sk->__sk_common)))
		return 0;
	f = reserve_later(sizeof(*f));
	if (!f)
		return 1;
	fill_head(&f->head, EVENT_FILE, &sk->__sk_common, netns, mptcp ? 0 : cookie_of(sk), false);
	f->head.task = task->tgid;
	f->inode = file->f_inode->i_ino;
	f->start = task->start_boottime;
	f->pid = pid_level ? number_of_task(task) : task->tgid;
	f->mptcp = mptcp;
	*(__u64 *)&f->comm[0] = *(__u64 *)&task->comm[0];
	*(__u64 *)&f->comm[8] = *(__u64 *)&task->comm[8];
	submit(f);
	return 0;
}
