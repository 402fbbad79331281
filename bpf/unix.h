/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The record of a Unix socket: its whole row as it is now, whatever has changed. So the
 * last record of a socket is its row, and one that comes twice does no harm.
 *
 * `direct` says whether the verifier knows the type of a socket: then there are no probe
 * reads, but for an inode before the socket has a file. It is constant in each program.
 */
#ifndef NETTRACE_UNIX_H
#define NETTRACE_UNIX_H

#include "stream.h"
#include "owner.h"

/* Whether bpf_skc_to_unix_sock may be called (5.16). The loader tries it. */
const volatile bool unix_direct;

/* Offset of sun_path in struct sockaddr_un: what an address has besides the name. */
#define UNIX_FAMILY_SIZE 2

/* Reads a field: by a direct load, or by a probe read. */
#define unix_field(direct, from, field) ((direct) ? (from)->field : BPF_CORE_READ(from, field))

/* Whether a pointer is an error (include/linux/err.h, MAX_ERRNO). */
static __always_inline bool unix_is_error(const void *p)
{
	return !p || (__u64)p >= (__u64)-4095;
}

/* The socket as the verifier wants it; NULL where it is none. */
static __always_inline struct unix_sock *unix_of(struct sock *sk, bool direct)
{
	return direct ? bpf_skc_to_unix_sock(sk) : (struct unix_sock *)sk;
}

/* Whether a Unix socket is traced; sets its network namespace. */
static __always_inline bool unix_in_scope(const struct sock *sk, __u32 *netns, bool direct)
{
	if (unix_field(direct, sk, __sk_common.skc_family) != AF_UNIX)
		return false;
	*netns = direct ? netns_of(&sk->__sk_common)
			: BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	return traced_netns(*netns);
}

/*
 * The inode, as /proc shows it. A socket has one before it has a file: since 6.18 the
 * socket itself says it, before that it lies beside the struct socket.
 */
static __always_inline __u32 unix_inode(const struct sock *sk, bool direct)
{
	struct socket *socket;

	if (bpf_core_field_exists(sk->sk_ino))
		return unix_field(direct, sk, sk_ino);
	socket = unix_field(direct, sk, sk_socket);
	if (!socket)
		return 0;
	if (can_probe)
		return BPF_CORE_READ((struct socket_alloc *)socket, vfs_inode.i_ino);
	return direct ? file_inode(socket) : 0;
}

/* The cookie of a socket that nobody may be asked for; 0 where it has none yet. */
static __always_inline __u64 unix_cookie(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

/* A socket that another one points to: its cookie, or its address while it has none. */
static __always_inline __u64 unix_key(const struct sock *sk, bool direct)
{
	__u64 cookie = unix_field(direct, sk, __sk_common.skc_cookie.counter);

	return cookie ? cookie : (__u64)sk;
}

/* The process at the other end, as SO_PEERCRED says it. */
static __always_inline __u32 unix_peer_pid(struct sock *sk, bool direct)
{
	struct pid *pid = unix_field(direct, sk, sk_peer_pid);

	if (!pid)
		return 0;
	if (!direct)
		return pid_level ? probe_number_of(pid) : BPF_CORE_READ(number_at(pid), nr);
	return pid_level ? number_of(pid) : pid->numbers[0].nr;
}

/* Copies a name by direct loads; what lies behind its end is no part of it. */
static __always_inline void unix_load_name(__u8 *to, const struct unix_address *addr)
{
	int i;

#pragma unroll
	for (i = 0; i + 8 <= UNIX_NAME_MAX; i += 8)
		*(__u64 *)&to[i] = *(__u64 *)&addr->name[0].sun_path[i];
	*(__u32 *)&to[i] = *(__u32 *)&addr->name[0].sun_path[i];
}

static __always_inline void unix_fill_name(struct unix_event *e, struct unix_sock *u, bool direct)
{
	struct unix_address *addr = unix_field(direct, u, addr);
	int len = 0;

	e->name_len = 0;
	if (!addr)
		return;
	e->flags |= UNIX_HAS_NAME;
	len = unix_field(direct, addr, len) - UNIX_FAMILY_SIZE;
	if (direct)
		unix_load_name(e->name, addr);
	else
		bpf_probe_read_kernel(e->name, UNIX_NAME_MAX,
				      (void *)addr +
					  bpf_core_field_offset(struct unix_address, name) +
					  UNIX_FAMILY_SIZE);
	if (len > 0 && e->name[0]) /* of a file: a NUL ends it */
		len--;
	e->name_len = len < 0 ? 0 : len < UNIX_NAME_MAX ? len : UNIX_NAME_MAX;
}

static __always_inline void unix_fill_peer(struct unix_event *e, struct unix_sock *u, bool direct)
{
	struct sock *peer = unix_field(direct, u, peer), *listener;

	e->peer = 0;
	e->listener = 0;
	e->peer_inode = 0;
	e->peer_pid = 0;
	if (peer) {
		e->peer = unix_key(peer, direct);
		e->peer_inode = unix_inode(peer, direct);
		e->peer_pid = unix_peer_pid(&u->sk, direct);
	}
	if (!bpf_core_field_exists(u->listener))
		return;
	listener = unix_field(direct, u, listener);
	if (listener)
		e->listener = unix_key(listener, direct);
}

/* Fills in who called; nobody where the kernel did by itself. */
static __always_inline void unix_fill_caller(struct socket_event *s, bool process)
{
	s->cgroup = process ? bpf_get_current_cgroup_id() : 0;
	if (process)
		fill_thread(s->thread);
	else
		__builtin_memset(s->thread, 0, sizeof(s->thread));
}

static __always_inline void unix_fill_head(struct event *e, struct sock *sk, __u32 netns,
					   __u64 cookie, bool process, bool direct)
{
	struct event_head *h = &e->head;

	__builtin_memset(e, 0, sizeof(*e));
	fill_ids(h, process);
	h->time = bpf_ktime_get_ns();
	h->kind = EVENT_UNIX;
	h->new_state = unix_field(direct, sk, __sk_common.skc_state);
	h->family = AF_UNIX;
	h->netns = netns;
	h->sk = (__u64)sk;
	h->cookie = cookie;
	e->cpu = this_cpu();
}

/* Fills in the row. The place in the ring is reserved already. */
static __always_inline void unix_fill(struct unix_event *e, struct unix_sock *u, __u8 change,
				      __u8 flags, __u32 netns, __u64 cookie, bool process,
				      bool direct)
{
	struct socket_event *s = &e->socket;
	struct sock *sk = &u->sk;
	bool has_socket = unix_field(direct, sk, sk_socket) != NULL;

	unix_fill_head(&s->event, sk, netns, cookie, process, direct);
	unix_fill_caller(s, process);
	/* What waits for accept() has the user of nobody. */
	s->event.uid = has_socket ? unix_field(direct, sk, sk_uid.val) : UID_UNKNOWN;
	s->event.inode = unix_inode(sk, direct);
	s->change = change;
	s->flags = SOCKET_SHOWN | flags;
	s->protocol = 0;
	s->type = unix_field(direct, sk, sk_type);
	s->pad = 0;
	e->flags = has_socket ? UNIX_HAS_SOCKET : 0;
	e->pad = 0;
	e->pad2 = 0;
	e->backlog = unix_field(direct, sk, sk_max_ack_backlog);
	unix_fill_name(e, u, direct);
	unix_fill_peer(e, u, direct);
}

/* What the caller is, of enum socket_flag. */
static __always_inline __u8 unix_caller_flags(void)
{
	__u32 flags = task_field(current_task(), flags);

	return (flags & PF_EXITING ? SOCKET_EXITING : 0) | (flags & PF_KTHREAD ? SOCKET_KERNEL : 0);
}

/* What a record says of a call, in one argument. */
static __always_inline __u32 unix_call_of(__u8 change, __u8 flags, bool process)
{
	return change | flags << 8 | process << 16;
}

static __always_inline int unix_send_row(struct sock *sk, __u32 call, __u32 netns, __u64 cookie,
					 bool direct)
{
	struct unix_sock *u = unix_of(sk, direct);
	struct unix_event *e;

	if (!u)
		return 0;
	e = reserve(sizeof(*e), TELLS_OTHER);
	if (!e)
		return 0;
	unix_fill(e, u, call, call >> 8 | unix_caller_flags(), netns, cookie, call >> 16, direct);
	submit(e);
	return 0;
}

/*
 * Sends the row of a socket whose type the verifier knows; process says whether the reader
 * knows the caller. Not inlined, as every program calls it.
 */
static __noinline int unix_send(struct sock *sk, __u32 call, __u32 netns, __u64 cookie)
{
	return unix_send_row(sk, call, netns, cookie, unix_direct);
}

/* The same of a socket that is only an address. */
static __noinline int unix_send_probed(struct sock *sk, __u32 call, __u32 netns, __u64 cookie)
{
	return unix_send_row(sk, call, netns, cookie, false);
}

/* Sends the calling process, where it is new, and returns whether the reader knows it. */
static __always_inline bool unix_send_caller(void)
{
	return !is_kernel_thread() && send_process(true);
}

/* The other end of a socket. */
static __always_inline struct sock *unix_peer_of(struct sock *sk, bool direct)
{
	struct unix_sock *u = unix_of(sk, direct);

	return u ? unix_field(direct, u, peer) : NULL;
}

/* Sends both ends of a socket that is only an address, after a call that has changed both. */
static __always_inline int unix_probed_both(struct sock *sk, __u32 netns)
{
	bool process = unix_send_caller();
	struct sock *peer;

	unix_send_probed(sk, unix_call_of(SOCKET_CONNECT, SOCKET_MORE, process), netns,
			 unix_cookie(sk));
	peer = unix_peer_of(sk, false);
	if (!peer)
		return 0;
	return unix_send_probed(peer, unix_call_of(SOCKET_CONNECT, SOCKET_OTHER, process), netns,
				unix_cookie(peer));
}

/* A call that has not returned: a thread makes one at a time of each kind. */
struct unix_call_key {
	__u64 thread;
	__u64 hook; /* enum twice */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct unix_call_key);
	__type(value, __u64);
} unix_calls SEC(".maps");

static __always_inline int unix_enter(__u32 hook, __u64 arg)
{
	struct unix_call_key key = {bpf_get_current_pid_tgid(), hook};

	bpf_map_update_elem(&unix_calls, &key, &arg, BPF_ANY);
	return 0;
}

/* Returns what unix_enter was given, once; NULL where the call has failed. */
static __always_inline void *unix_leave(__u32 hook, int ret)
{
	struct unix_call_key key = {bpf_get_current_pid_tgid(), hook};
	__u64 *arg = bpf_map_lookup_elem(&unix_calls, &key), found;

	if (!arg)
		return NULL;
	found = *arg;
	bpf_map_delete_elem(&unix_calls, &key);
	return ret ? NULL : (void *)found;
}

#endif
