/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Records of the open files of sockets, of the iterators over all files. These run in the
 * context of our own process when it asks.
 */
#ifndef NETTRACE_FILES_H
#define NETTRACE_FILES_H

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
 * The socket of a file that a process has open, or NULL; tasks that are threads have
 * none. bpf_sock_from_file: 5.11.
 */
static __always_inline struct sock *file_sock(struct task_struct *task, struct file *file)
{
	struct socket *socket;

	if (!file || !task || task->tgid != task->pid)
		return NULL;
	socket = bpf_sock_from_file(file);
	return socket ? socket->sk : NULL;
}

/* The id of the cgroup that a socket belongs to; 0: it has none, or that is not known. */
static __always_inline __u64 cgroup_of(const struct sock *sk)
{
	struct cgroup *cgroup;

	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return 0;
	cgroup = sk->sk_cgrp_data.cgroup;
	return cgroup ? cgroup->kn->id : 0;
}

/*
 * Sends who has the file open. Returns 1, which makes the kernel show the file again, where
 * the ring has no room.
 */
static __always_inline int send_file(struct task_struct *task, struct file *file,
				     const struct sock *sk, __u32 netns, __u64 cookie, bool mptcp)
{
	struct file_event *f = reserve_later(sizeof(*f));

	if (!f)
		return 1;
	fill_head(&f->head, EVENT_FILE, &sk->__sk_common, netns, cookie, false);
	f->head.task = task->tgid;
	f->inode = file->f_inode->i_ino;
	f->start = task->start_boottime;
	f->pid = pid_level ? number_of_task(task) : task->tgid;
	f->mptcp = mptcp;
	*(__u64 *)&f->comm[0] = *(__u64 *)&task->comm[0];
	*(__u64 *)&f->comm[8] = *(__u64 *)&task->comm[8];
	f->cgroup = cgroup_of(sk);
	f->uid = sk->sk_uid.val;
	f->pad = 0;
	submit(f);
	return 0;
}

#endif
