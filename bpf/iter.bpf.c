// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The fast source of owners for the views: an iterator that writes the open files
 * of sockets as rows of fixed size. It runs in the context of the process that reads
 * them, on Linux 5.10 and later.
 */
#include "iter.h"

#include <bpf/bpf_tracing.h>

#define SOCKFS_MAGIC 0x534F434B /* include/uapi/linux/magic.h */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the type of the rows in the object's BTF, for bpf2go. */
const struct owner_row *owner_row_type __attribute__((unused));

SEC("iter/task_file")
int owner_rows(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct owner_row r = {};

	/*
	 * Only processes are owners, so rows of their threads are skipped. /proc shows
	 * any file of sockfs as a socket, one opened with O_PATH too.
	 */
	if (!task || !file || task->tgid != task->pid ||
	    file->f_inode->i_sb->s_magic != SOCKFS_MAGIC)
		return 0;
	r.inode = file->f_inode->i_ino;
	r.pid = task->tgid;
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}
