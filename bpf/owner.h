/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Records of the calling process: one where what is known of it has changed, one of
 * its executable where the program is new, and one for a call that makes it the owner
 * of a socket. Process context only.
 */
#ifndef NETTRACE_OWNER_H
#define NETTRACE_OWNER_H

#include "stream.h"

/* What was last sent of a process. exec changes exec_id. */
struct seen {
	__u64 start;
	__u64 exec_id;
	__u64 comm[2];
	__u64 cmdline; /* a hash */
	__u64 sent;    /* time of the record */
};

/* By thread-group id in the first pid namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct seen);
} processes SEC(".maps");

/* Where the command line of a process lies in its memory. */
struct arguments {
	unsigned long start, end;
	unsigned long limit; /* of a title that is longer than the arguments */
};

/*
 * Finds the command line as get_mm_cmdline (fs/proc/base.c) does: a program may write
 * a title over its arguments, and past them over its environment.
 */
static __always_inline void find_arguments(struct arguments *a, struct task_struct *task)
{
	struct mm_struct *mm = task_field(task, mm);
	unsigned long env_start, env_end;

	a->start = a->end = a->limit = 0;
	if (!mm)
		return;
	if (has_task_btf) {
		a->start = mm->arg_start;
		a->end = mm->arg_end;
		env_start = mm->env_start;
		env_end = mm->env_end;
	} else {
		a->start = BPF_CORE_READ(mm, arg_start);
		a->end = BPF_CORE_READ(mm, arg_end);
		env_start = BPF_CORE_READ(mm, env_start);
		env_end = BPF_CORE_READ(mm, env_end);
	}
	a->limit = a->end;
	if (env_start == a->end && env_end > a->end)
		a->limit = env_end;
}

/* Returns how much of a command line is read, which does not end before it starts. */
static __always_inline __u32 cmdline_len(unsigned long start, unsigned long end)
{
	unsigned long len = end - start;

	return len < CMDLINE_MAX ? len : CMDLINE_MAX;
}

/* Hashes a command line, four words at a time: each product waits for the one before. */
static __always_inline __u64 hash_of(const __u64 *words)
{
	const __u64 factor = 0x9e3779b97f4a7c15;
	__u64 a = 1, b = 2, c = 3, d = 4;
	int i;

#pragma unroll
	for (i = 0; i < CMDLINE_MAX / 8; i += 4) {
		a = (a ^ words[i]) * factor;
		b = (b ^ words[i + 1]) * factor;
		c = (c ^ words[i + 2]) * factor;
		d = (d ^ words[i + 3]) * factor;
	}
	return ((a * factor ^ b) * factor ^ c) * factor ^ d;
}

/*
 * Sends the name and the command line of the current process, unless they are those
 * last sent: it may be gone before the reader can look in /proc, and may rename itself
 * before its next call. Returns 1 where the program is new, and -1 where the ring has
 * no room: then the reader does not know the process. Without exe a new program is sent
 * again by its next call. A global function: the verifier goes through it once.
 */
__noinline int send_names(bool exe)
{
	__u64 cmdline[CMDLINE_MAX / 8] = {};
	struct task_struct *task = current_task(), *leader;
	struct process_event *p;
	struct seen now, *seen;
	struct arguments args;
	char last = 0;
	__u32 key;
	bool exec;

	leader = task_field(task, group_leader);
	key = bpf_get_current_pid_tgid() >> 32;
	now.start = task_field(leader, start_time);
	now.exec_id = task_field(task, self_exec_id);
	if (has_task_btf) {
		now.comm[0] = *(__u64 *)&leader->comm[0];
		now.comm[1] = *(__u64 *)&leader->comm[8];
	} else {
		BPF_CORE_READ_INTO(&now.comm, leader, comm);
	}
	seen = bpf_map_lookup_elem(&processes, &key);
	exec = !seen || seen->start != now.start || seen->exec_id != now.exec_id;
	find_arguments(&args, task);
	if (!args.start && !exec)
		return 0; /* it exits, and its memory is gone already */
	/*
	 * Where the kernel refuses bpf_probe_read_kernel, package ebpf makes bpf_probe_read of
	 * this call too, which lockdown refuses: then the command line is unknown.
	 */
	if (can_probe)
		bpf_probe_read_user(cmdline, cmdline_len(args.start, args.limit),
				    (void *)args.start);
	else
		args.end = args.limit = args.start;
	now.cmdline = hash_of(cmdline);
	if (!exec && seen->comm[0] == now.comm[0] && seen->comm[1] == now.comm[1] &&
	    seen->cmdline == now.cmdline)
		return 0;
	p = reserve(sizeof(*p), TELLS_OTHER);
	if (!p)
		return -1;
	p->time = now.sent = bpf_ktime_get_ns();
	p->kind = EVENT_PROCESS;
	p->exec = exec;
	p->pad = 0;
	/* A program that wrote over the last byte of its arguments gave itself a title. */
	if (can_probe && args.start < args.end)
		bpf_probe_read_user(&last, 1, (void *)args.end - 1);
	p->title = last != 0;
	p->task = key;
	p->pid = pid_level ? number_of_task(leader) : key;
	p->cmdline_len = cmdline_len(args.start, last ? args.limit : args.end);
	__builtin_memcpy(p->comm, now.comm, sizeof(p->comm));
	__builtin_memcpy(p->cmdline, cmdline, sizeof(p->cmdline));
	submit(p);
	if (exe || !exec)
		bpf_map_update_elem(&processes, &key, &now, BPF_ANY);
	return exec;
}

/*
 * Entries of directories and mount points on the way up to the root, of which /usr/bin/x
 * has 3. The verifier goes through each.
 */
#define EXE_STEPS 16

/*
 * Sends the path of the current program's file, as prepend_path (fs/d_path.c) builds
 * it: from its entry up to the root of its mount, on from where that is mounted, up to
 * the mount that is mounted nowhere. bpf_d_path is not allowed in these programs.
 * Names of files are not in the kernel's types, so this takes probe reads; without
 * them the path is unknown. A global function, too.
 */
__noinline int send_exe(__u32 key)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct dentry *dentry, *root, *parent;
	struct exe_event *e;
	struct vfsmount *vfs;
	struct mount *mount, *above;
	struct file *file;
	__u32 at, len;
	bool whole = false;
	int i;

	if (!can_probe)
		return 0;
	file = BPF_CORE_READ(task, mm, exe_file);
	if (!file)
		return 0;
	e = reserve(sizeof(*e), TELLS_OTHER);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->kind = EVENT_EXE;
	e->task = key;
	dentry = BPF_CORE_READ(file, f_path.dentry);
	vfs = BPF_CORE_READ(file, f_path.mnt);
	root = BPF_CORE_READ(vfs, mnt_root);
	mount = (void *)vfs - bpf_core_field_offset(struct mount, mnt);
	e->deleted = !BPF_CORE_READ(dentry, d_hash.pprev) && dentry != root;
	e->start = EXE_MAX;
	for (i = 0; i < EXE_STEPS; i++) {
		if (dentry == root) {
			above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount) {
				whole = true;
				break;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		parent = BPF_CORE_READ(dentry, d_parent);
		if (parent == dentry) { /* a file of no directory, as memfd_create makes */
			whole = true;
			break;
		}
		/* Kept in the record, where the verifier does not follow its value. */
		at = e->start;
		len = BPF_CORE_READ(dentry, d_name.len);
		if (len + 1 > at || len > EXE_MAX - 1)
			break;
		at -= len;
		if (bpf_probe_read_kernel(e->path + (at & (EXE_MAX - 1)), len & (EXE_MAX - 1),
					  BPF_CORE_READ(dentry, d_name.name)))
			break;
		at--;
		e->path[at & (EXE_MAX - 1)] = '/';
		e->start = at;
		dentry = parent;
	}
	if (!whole)
		e->start = EXE_MAX;
	submit(e);
	return 0;
}

/*
 * Sends what has changed of the current process, and returns whether the reader knows
 * it. exe says whether to send the executable of a new program. Neither function calls the other,
 * as the stacks of all that are active share 512 bytes.
 */
static __always_inline bool send_process(bool exe)
{
	int sent = send_names(exe);

	if (sent > 0 && exe)
		send_exe(bpf_get_current_pid_tgid() >> 32);
	return sent >= 0;
}

/*
 * Fills in the name of the current thread, in 16 bytes at a multiple of 8. Two loads take less
 * than the helper, which goes through the name twice.
 */
static __always_inline void fill_thread(__u8 *name)
{
	if (has_task_btf) {
		struct task_struct *task = current_task();

		*(__u64 *)&name[0] = *(__u64 *)&task->comm[0];
		*(__u64 *)&name[8] = *(__u64 *)&task->comm[8];
	} else if (bpf_get_current_comm(name, 16)) {
		name[0] = 0;
	}
}

/* Fills in who called, but for the ids in the head. */
static __always_inline void fill_caller(struct owner_event *o)
{
	o->cgroup = bpf_get_current_cgroup_id();
	fill_thread(o->thread);
}

/*
 * Sends a call that makes the current process the owner of a socket. known says whether
 * the reader knows the process.
 */
static __always_inline int send_owner(const struct sock *sk, __u8 kind, int from, int to,
				      const struct socket *socket, __u32 netns, __u64 cookie,
				      bool known)
{
	struct owner_event *o;

	o = reserve(sizeof(*o), kind == EVENT_STATE ? TELLS_STATE : TELLS_OTHER);
	if (!o)
		return 0;
	fill_event(&o->event, kind, sk, netns, cookie, known);
	o->event.head.old_state = from;
	o->event.head.new_state = to;
	o->event.inode = file_inode(socket);
	fill_caller(o);
	/* A socket that connects again still shows its former port. */
	if (from == TCP_CLOSE && to == TCP_SYN_SENT)
		o->event.local_port = sk->__sk_common.skc_num;
	submit(o);
	return 0;
}

#endif
