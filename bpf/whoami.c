// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What the process that reads this iterator is in the first pid namespace, and in which
 * one it is. Nothing in /proc shows that inside of a container.
 */
#include "stream.h"

SEC("iter/task")
int whoami(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct whoami_row w = {};

	if (!task || task->pid != (__u32)bpf_get_current_pid_tgid())
		return 0;
	w.task = task->tgid;
	w.level = task->thread_pid->level;
	/* Its own, as it has never called unshare or setns for its children. */
	w.inode = task->nsproxy->pid_ns_for_children->ns.inum;
	w.start = task->start_boottime;
	bpf_seq_write(ctx->meta->seq, &w, sizeof(w));
	return 0;
}
