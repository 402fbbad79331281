/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The record of a UDP or raw socket: its whole row as it is now, whatever has changed. So
 * the last record of a socket is its row, and one that comes twice does no harm.
 */
#ifndef NETTRACE_INET_H
#define NETTRACE_INET_H

#include "stream.h"
#include "copy.h"
#include "owner.h"
#include "twice.h"

/* Settings, written by the loader: which of these are traced. */
const volatile bool trace_udp;
const volatile bool trace_udplite;
const volatile bool trace_raw;
const volatile bool trace_unix;

/* Whether a socket is traced, but for its address family and its network namespace. */
static __always_inline bool inet_type(__u16 type, __u16 protocol)
{
	if (type == SOCK_RAW)
		return trace_raw;
	if (type != SOCK_DGRAM)
		return false;
	return protocol == IPPROTO_UDP ? trace_udp : protocol == IPPROTO_UDPLITE && trace_udplite;
}

/* The same, and for its address family. */
static __always_inline bool inet_kind(__u16 family, __u16 type, __u16 protocol)
{
	if (only_family ? family != only_family : family != AF_INET && family != AF_INET6)
		return false;
	return inet_type(type, protocol);
}

/* The same of a socket whose type the verifier knows; sets the network namespace. */
static __always_inline bool inet_in_scope(const struct sock *sk, __u32 *netns)
{
	return inet_kind(sk->__sk_common.skc_family, sk->sk_type, sk->sk_protocol) &&
	       traced_netns(*netns = netns_of(&sk->__sk_common));
}

/* Sends the calling process, where it is new, and returns whether the reader knows it. */
static __always_inline bool inet_send_caller(void)
{
	return !is_kernel_thread() && send_process(true);
}

/* What the caller is, of enum socket_flag. */
static __always_inline __u8 inet_caller_flags(void)
{
	__u32 flags = task_field(current_task(), flags);

	return (flags & PF_EXITING ? SOCKET_EXITING : 0) | (flags & PF_KTHREAD ? SOCKET_KERNEL : 0);
}

/* Fills in the call; the rest of the record is the row. */
static __always_inline void inet_fill_call(struct socket_event *s, __u8 change, __u8 flags,
					   bool process)
{
	s->cgroup = process ? bpf_get_current_cgroup_id() : 0;
	if (process)
		fill_thread(s->thread);
	else
		__builtin_memset(s->thread, 0, sizeof(s->thread));
	s->change = change;
	s->flags = flags;
	s->pad = 0;
}

/*
 * The inode as /proc shows it, of a socket whose pointer is known to be one. It has an
 * inode before it has a file; that lies beside the struct socket.
 */
static __always_inline __u32 inet_inode(const struct socket *socket)
{
	if (!socket)
		return 0;
	if (can_probe)
		return BPF_CORE_READ((const struct socket_alloc *)socket, vfs_inode.i_ino);
	return file_inode(socket);
}

/* Sends the row of a socket whose type the verifier knows. */
static __always_inline int inet_send(const struct sock *sk, __u8 change, __u8 flags, __u32 netns,
				     __u64 cookie, bool process)
{
	struct socket_event *s = reserve(sizeof(*s), TELLS_OTHER);

	if (!s)
		return 0;
	if (sk->__sk_common.skc_node.pprev)
		flags |= SOCKET_SHOWN;
	fill_event(&s->event, EVENT_SOCKET, sk, netns, cookie, process);
	s->event.head.new_state = sk->__sk_common.skc_state;
	s->event.inode = inet_inode(sk->sk_socket);
	inet_fill_call(s, change, flags | inet_caller_flags(), process);
	s->protocol = sk->sk_protocol;
	s->type = sk->sk_type;
	submit(s);
	return 0;
}

/*
 * What inet_send_copy is to send, in one word, as a function takes few arguments: the
 * change, enum socket_flag, and the type and the protocol where they are known already,
 * which saves probe reads.
 */
static __always_inline __u32 inet_what(__u8 change, __u8 flags, __u8 type, __u8 protocol)
{
	return change | flags << 8 | type << 16 | (__u32)protocol << 24;
}

/*
 * Sends the row of a socket that is only an address. The place in the ring comes first:
 * what is read of the socket afterwards is at least as new as that. Not inlined: its
 * stack would be in use while send_names runs.
 */
static __noinline int inet_send_copy(const void *from, __u64 cookie, __u32 what, bool process)
{
	const struct sock *sk = from;
	__u8 change = what, flags = what >> 8, type = what >> 16;
	struct socket_event *s = reserve(sizeof(*s), TELLS_OTHER);
	struct copy c;

	if (!s)
		return 0;
	if (bpf_probe_read_kernel(c.raw, sizeof(c.raw), sk)) {
		bpf_ringbuf_discard(s, BPF_RB_NO_WAKEUP);
		return 0;
	}
	/* The caller has made sure of that. */
	c.netns =
	    only_netns_cookie ? only_netns : BPF_CORE_READ(common_of(&c)->skc_net.net, ns.inum);
	copy_event(&s->event, EVENT_SOCKET, sk, &c);
	fill_ids(&s->event.head, process);
	if (cookie)
		s->event.head.cookie = cookie;
	s->event.head.new_state = common_of(&c)->skc_state;
	/* What a record after the first one of a socket need not say again. */
	if (change != SOCKET_CLOSE && !(flags & SOCKET_INTENT)) {
		s->event.uid = BPF_CORE_READ(sk, sk_uid.val);
		s->event.inode = inet_inode(BPF_CORE_READ(sk, sk_socket));
	}
	if (change == SOCKET_DISCONNECT)
		s->event.err = BPF_CORE_READ(sk, sk_err);
	if (common_of(&c)->skc_node.pprev)
		flags |= SOCKET_SHOWN;
	inet_fill_call(s, change, flags | inet_caller_flags(), process);
	s->protocol = type ? what >> 24 : BPF_CORE_READ(sk, sk_protocol);
	s->type = type ? type : BPF_CORE_READ(sk, sk_type);
	submit(s);
	return 0;
}

/* A call on a socket, of a program on a trampoline; both copies of it call this. */
static __always_inline int inet_call(__u32 hook, struct sock *sk, __u8 change, __u8 flags)
{
	__u64 cookie;
	__u32 netns;

	if (!sk || !inet_in_scope(sk, &netns))
		return 0;
	cookie = cookie_of(sk);
	if (handled_already(hook, sk, cookie))
		return 0;
	return inet_send(sk, change, flags, netns, cookie, inet_send_caller());
}

/*
 * Whether a socket is traced that is only an address. The network namespace of a traced
 * one is read twice, so that no program needs the stack of a copy here.
 */
static __always_inline bool inet_probe_in_scope(const struct sock *sk)
{
	return inet_kind(BPF_CORE_READ(sk, __sk_common.skc_family), BPF_CORE_READ(sk, sk_type),
			 BPF_CORE_READ(sk, sk_protocol)) &&
	       (!only_netns || BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) == only_netns);
}

/* A call on a socket, of a kprobe. */
static __always_inline int inet_probe_call(const void *sk, __u8 change, __u8 flags)
{
	if (!inet_probe_in_scope(sk))
		return 0;
	return inet_send_copy(sk, 0, inet_what(change, flags, 0, 0), inet_send_caller());
}

/* What a kprobe keeps of a call for the kretprobe at its end. */
struct inet_call {
	__u64 sk; /* its address */
	__u64 arg2;
};

/* A thread is within one call of a function at a time. */
struct inet_call_key {
	__u64 thread;
	__u64 hook; /* enum twice */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct inet_call_key);
	__type(value, struct inet_call);
} inet_calls SEC(".maps");

/* The start of a call, of a kprobe. */
static __always_inline int inet_enter(__u32 hook, struct pt_regs *ctx)
{
	struct inet_call_key key = {bpf_get_current_pid_tgid(), hook};
	struct inet_call call = {kprobe_arg1(ctx), kprobe_arg2(ctx)};

	if (inet_probe_in_scope((const struct sock *)call.sk))
		bpf_map_update_elem(&inet_calls, &key, &call, BPF_ANY);
	return 0;
}

/* Its end: takes what the start has kept, and returns the socket; NULL: it is not traced. */
static __always_inline const void *inet_leave(__u32 hook, __u64 *arg2)
{
	struct inet_call_key key = {bpf_get_current_pid_tgid(), hook};
	struct inet_call *call = bpf_map_lookup_elem(&inet_calls, &key);
	const void *sk;

	if (!call)
		return NULL;
	sk = (const void *)call->sk;
	*arg2 = call->arg2;
	bpf_map_delete_elem(&inet_calls, &key);
	return sk;
}

/* Whether what was last sent of the calling process holds, but for a title it gave itself. */
static __always_inline bool inet_is_seen(const struct seen *seen)
{
	struct task_struct *task = current_task(), *leader;

	if (!has_task_btf)
		return false;
	leader = task->group_leader;
	return seen->start == leader->start_time && seen->exec_id == task->self_exec_id &&
	       seen->comm[0] == *(__u64 *)&leader->comm[0] &&
	       seen->comm[1] == *(__u64 *)&leader->comm[8];
}

/*
 * The same as inet_send_caller after socket(), which has sent the process mostly: the
 * command line is not read again.
 */
static __always_inline bool inet_known_caller(void)
{
	__u32 key = bpf_get_current_pid_tgid() >> 32;
	struct seen *seen = bpf_map_lookup_elem(&processes, &key);

	return seen && inet_is_seen(seen) ? true : inet_send_caller();
}

/*
 * Cgroup programs. The context of one on a socket is the socket itself, as the kernel
 * rewrites only loads of its fields (sock_filter_convert_ctx_access, net/core/filter.c).
 */
static __always_inline int inet_cgroup(struct bpf_sock *ctx, __u8 change)
{
	__u32 type = ctx->type, protocol = ctx->protocol;
	bool process;

	if (!inet_kind(ctx->family, type, protocol))
		return 1;
	if (only_netns_cookie && bpf_get_netns_cookie(ctx) != only_netns_cookie)
		return 1;
	process = change == SOCKET_OPEN ? inet_send_caller() : inet_known_caller();
	inet_send_copy(ctx, bpf_get_socket_cookie(ctx), inet_what(change, 0, type, protocol),
		       process);
	return 1;
}

/* The same of one on an address. */
static __always_inline bool inet_addr_in_scope(struct bpf_sock_addr *ctx)
{
	if (!inet_kind(ctx->family, ctx->type, ctx->protocol))
		return false;
	return !only_netns_cookie || bpf_get_netns_cookie(ctx) == only_netns_cookie;
}

/*
 * The row of its socket. ctx->sk is a pointer that allows no arithmetic; as the kernel has
 * the context, that is its first word (struct bpf_sock_addr_kern, include/linux/filter.h).
 */
static __always_inline int inet_addr_send(struct bpf_sock_addr *ctx, __u8 change, __u8 flags)
{
	__u32 what = inet_what(change, flags, ctx->type, ctx->protocol);
	bool process = inet_known_caller();
	const void *sk = NULL;

	if (!bpf_probe_read_kernel(&sk, sizeof(sk), ctx) && sk)
		inet_send_copy(sk, bpf_get_socket_cookie(ctx), what, process);
	return 1;
}

#endif
