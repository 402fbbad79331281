// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What the reader asks for of sockets other than TCP's: how those are now that it names,
 * and who holds which. It runs these programs itself.
 */
#include "inet.h"
#include "files.h"

#define SOCKET_REFS_MAX 512

struct socket_refs_args {
	__u32 count;
};

/* The sockets that socket_refresh is to look at. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SOCKET_REFS_MAX);
	__type(key, __u32);
	__type(value, struct socket_ref);
} socket_refs SEC(".maps");

/* The memory may be another socket's by now: the cookie tells, and is never used again. */
static long socket_refresh_one(void *map, __u32 *index, struct socket_ref *ref,
			       struct socket_refs_args *args)
{
	const struct sock *sk = (const struct sock *)ref->sk;

	if (*index >= args->count)
		return 1;
	if (BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) != ref->cookie ||
	    !inet_probe_in_scope(sk))
		return 0;
	inet_send_copy(sk, ref->cookie, inet_what(SOCKET_SEEN, 0, 0, 0), false);
	return 0;
}

SEC("syscall")
int socket_refresh(struct socket_refs_args *ctx)
{
	struct socket_refs_args args = {.count = ctx->count};

	bpf_for_each_map_elem(&socket_refs, socket_refresh_one, &args, 0);
	return 0;
}

/* Sends a record for each socket other than TCP's that a process has open. */
SEC("iter/task_file")
int socket_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk = file_sock(task, file);
	__u32 netns;

	if (!sk)
		return 0;
	if (!inet_kind(sk->__sk_common.skc_family, sk->sk_type, sk->sk_protocol) &&
	    !(trace_unix && sk->__sk_common.skc_family == AF_UNIX))
		return 0;
	if (!traced_netns(netns = netns_of(&sk->__sk_common)))
		return 0;
	return send_file(task, file, sk, netns, cookie_of(sk), false);
}
