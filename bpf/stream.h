/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What all programs of the stream share: settings, the ring buffer and its counts,
 * which sockets are traced, and the head of a record. An object of its own that
 * includes this declares the same maps; the loader makes one map of each name.
 */
#ifndef NETTRACE_STREAM_H
#define NETTRACE_STREAM_H

#include "sock.h"
#include "event.h"
#include "wanted.h"

#include <bpf/bpf_tracing.h>

/*
 * What the reader reports for a record. What is dropped is counted by it, so that one who
 * counts reports knows how many are missing. Where that cannot be known here, it is the
 * most that may be.
 */
enum tells {
	TELLS_OTHER,  /* nothing by itself */
	TELLS_STATE,  /* a transition */
	TELLS_CLOSE,  /* a transition and, as it ends a connection, its close */
	TELLS_FAILED, /* the close of a connect that failed without any transition */
	TELLS,
};

/* The counts, each by enum tells. */
enum count {
	COUNT_DROPPED,	    /* records that did not fit in the ring */
	COUNT_SENT = TELLS, /* those that did, with count_all */
	COUNTS = 2 * TELLS,
};

/*
 * Waking the reader costs about 3 us, thirty times a record. While records come it polls,
 * and is woken only where the ring fills faster than it polls: by the records within
 * WAKEUP_WINDOW bytes after wakeup_at. By then the reader is late, and one of them
 * is enough. How far the reader is lies in a cache line that it writes: only the records at
 * the start of each page of the ring look at it.
 */
#define WAKEUP_WINDOW (3 * WAKEUP_PAGE)
#define WAKEUP_PAGE 4096
#define WAKEUP_LOOKS 1024

/* Settings, written by the loader. */
const volatile __u32 only_netns;	/* inode of the network namespace to trace; 0: all */
const volatile __u64 only_netns_cookie; /* SO_NETNS_COOKIE of that; 0: not known */
const volatile __u16 only_family;	/* AF_INET or AF_INET6: of the sockets to trace; 0: both */
const volatile __u32 pid_level; /* of the pid namespace whose numbers are reported; 0: the first */
const volatile __u32 pid_inode; /* its inode */
const volatile __u64 wakeup_at; /* bytes in the ring at which the reader is woken */
const volatile bool has_cookie; /* tracing programs may ask for the socket cookie (5.12) */
const volatile bool has_task_btf; /* bpf_get_current_task_btf (5.11) */
const volatile bool can_probe;	  /* bpf_probe_read_kernel is allowed (lockdown) */
const volatile bool count_all;	  /* count the records that are sent: for tests */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

/*
 * Whether the reader sleeps: then the next record wakes it. It maps this, sets it and looks
 * at the ring once more before it sleeps.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} reader SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/*
 * The timer functions of timewait and request sockets. The loader sets them from
 * kallsyms; where that hides addresses they stay 0 until the first socket of the kind
 * starts or stops its timer (bpf/mini.c).
 */
__u64 tw_timer_handler;
__u64 reqsk_timer_handler;

/* Whether a hook reports the port that connect chooses. The loader sets it once it knows. */
bool port_reported;

/*
 * Whether that hook sends the first transition of a connect too, once it has a port: one
 * record instead of two, and none where the condition leaves the port out. The loader
 * sets it once it knows.
 */
bool connect_reported;

/* What a transition of a full socket tells. A listener is no connection. */
static __always_inline enum tells tells_of(int from, int to)
{
	if (from == to) /* close() after shutdown() sets the state anew */
		return TELLS_OTHER;
	return to == TCP_CLOSE && from != TCP_LISTEN ? TELLS_CLOSE : TELLS_STATE;
}

/* Adds one to a count. */
static __always_inline void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &which);

	if (n) /* a softirq may interrupt the addition */
		__sync_fetch_and_add(n, 1);
}

/* Counts a record that is reserved, with count_all. */
static __always_inline void *count_sent(void *record, enum tells tells)
{
	if (record && count_all)
		count(COUNT_SENT + tells);
	return record;
}

/*
 * Reserves a record, which is submitted in any case; NULL, and counted, where the ring
 * has no room.
 */
static __always_inline void *reserve(__u64 size, enum tells tells)
{
	void *record = bpf_ringbuf_reserve(&events, size, 0);

	if (!record)
		count(COUNT_DROPPED + tells);
	return count_sent(record, tells);
}

/*
 * Wakes the reader if it sleeps, with a record that it skips. To be called after a record
 * was submitted, which is a full barrier (xchg in bpf_ringbuf_commit, kernel/bpf/ringbuf.c):
 * so either this sees that the reader sleeps, or the reader has seen the record.
 */
static __always_inline void wake_sleeper(void)
{
	__u32 zero = 0;
	volatile __u32 *sleeps = bpf_map_lookup_elem(&reader, &zero);
	void *nothing;

	if (!sleeps || !*sleeps)
		return;
	*sleeps = 0;
	nothing = bpf_ringbuf_reserve(&events, 8, 0);
	if (nothing)
		bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
}

static __always_inline void submit(void *record)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (bpf_ringbuf_query(&events, BPF_RB_PROD_POS) % WAKEUP_PAGE < WAKEUP_LOOKS &&
	    bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) - wakeup_at < WAKEUP_WINDOW)
		flags = BPF_RB_FORCE_WAKEUP;
	bpf_ringbuf_submit(record, flags);
	wake_sleeper();
}

/*
 * The cookie of a socket. Where a program cannot ask for it (before 5.12), it is 0 until
 * somebody else has, as the reader does when it reads the rows of sock_diag.
 */
static __always_inline __u64 cookie_of(struct sock *sk)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;

	return cookie || !has_cookie ? cookie : bpf_get_socket_cookie(sk);
}

static __always_inline bool traced_kind(__u16 protocol, __u16 family)
{
	if (protocol != IPPROTO_TCP)
		return false;
	if (only_family)
		return family == only_family;
	return family == AF_INET || family == AF_INET6;
}

static __always_inline bool traced_netns(__u32 netns)
{
	return !only_netns || netns == only_netns;
}

/*
 * Whether a socket is traced, from what a hook knows of it. This is the one place
 * that decides: all programs ask it before they reserve a record. A macro, as the
 * expression for netns is a cache miss or a probe read: it is evaluated, always, for
 * a socket of the right protocol and family only.
 */
#define traced(protocol, family, netns) (traced_kind(protocol, family) && traced_netns(netns))

/*
 * The same of a socket of any protocol; sets the network namespace of a traced one.
 * The caller asks wanted().
 */
static __always_inline bool in_scope(const struct sock *sk, __u32 *netns)
{
	return traced(sk->sk_protocol, sk->__sk_common.skc_family,
		      *netns = netns_of(&sk->__sk_common));
}

/* The same, and whether it is wanted, which is decided first. */
static __always_inline bool traced_sock(const struct sock *sk, __u32 *netns)
{
	return wanted_sock(&sk->__sk_common) && in_scope(sk, netns);
}

/*
 * Whether a socket that makes a transition is wanted. A connect, or a listen, gets its
 * local port after its first one. Where no hook reports the port then, the transition
 * after that is the first record with it: the reader must see it.
 */
static __always_inline bool wanted_transition(struct sock *sk, int from, int to)
{
	const struct sock_common *skc = &sk->__sk_common;
	__u16 port = skc->skc_num;
	struct tcp_sock *tp;
	__u32 unknown = 0;

	if (!wanted_term_count)
		return true;
	if (to == TCP_CLOSE && !port) { /* it is cleared already, inet_sport is not */
		tp = bpf_skc_to_tcp_sock(sk);
		if (tp)
			port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	}
	if (from == TCP_SYN_SENT && !port_reported)
		unknown |= PORT_UNKNOWN;
	if ((from == TCP_LISTEN || to == TCP_LISTEN) && !skc->skc_dport)
		unknown |= LISTENER_UNKNOWN;
	return wanted(skc, port, unknown);
}

static __always_inline struct task_struct *current_task(void)
{
	if (has_task_btf)
		return bpf_get_current_task_btf();
	return (struct task_struct *)bpf_get_current_task();
}

/* Reads a field of a task: a direct load where the task is a BTF pointer. */
#define task_field(task, field) (has_task_btf ? (task)->field : BPF_CORE_READ(task, field))

/*
 * Whether the current task is the kernel's own. It works for others (mptcp_worker, the
 * servers of NFS), and is never whose the socket is.
 */
static __always_inline bool is_kernel_thread(void)
{
	return task_field(current_task(), flags) & PF_KTHREAD;
}

/*
 * Whether the current task acts on the socket. A system call owns the socket. A
 * packet or a timer does not, and interrupts an unrelated task.
 */
static __always_inline bool in_process_context(const struct sock *sk)
{
	if (!sk->sk_lock.owned)
		return false;
	return !is_kernel_thread();
}

/* Where a struct pid has its number in the pid namespace whose numbers are reported. */
static __always_inline struct upid *number_at(struct pid *pid)
{
	return (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	       pid_level * bpf_core_type_size(struct upid);
}

/* number_of for a pointer that the verifier knows nothing of. */
static __always_inline __u32 probe_number_of(struct pid *pid)
{
	struct upid *number = number_at(pid);
	struct pid_namespace *ns;

	if (!can_probe || !pid || BPF_CORE_READ(pid, level) < pid_level)
		return 0;
	ns = BPF_CORE_READ(number, ns);
	if (BPF_CORE_READ(ns, ns.inum) != pid_inode)
		return 0;
	return BPF_CORE_READ(number, nr);
}

/*
 * Returns the number of a struct pid in the pid namespace whose numbers are reported,
 * as pid_nr_ns (kernel/pid.c) does; 0: it has none there. pid_level is known when the
 * program is loaded, so the offset is a constant and a direct load is allowed. Before
 * 6.5 the array has one element, and the verifier refuses the others
 * (btf_struct_walk, kernel/bpf/btf.c): there this takes probe reads.
 */
static __always_inline __u32 number_of(struct pid *pid)
{
	struct pid_namespace *ns;
	struct upid *number = number_at(pid);

	if (has_task_btf && bpf_core_field_size(pid->numbers) == 0) {
		if (!pid || pid->level < pid_level)
			return 0;
		ns = number->ns;
		if (!ns || ns->ns.inum != pid_inode)
			return 0;
		return number->nr;
	}
	return probe_number_of(pid);
}

/* Returns the number of a task there. */
static __always_inline __u32 number_of_task(struct task_struct *task)
{
	return number_of(task_field(task, thread_pid));
}

/* Returns the number of the current thread there; ids are those of the helper. */
static __always_inline __u32 tid_of(__u64 ids)
{
	return pid_level ? number_of_task(current_task()) : (__u32)ids;
}

/* Fills in the ids of the current process; 0 where it is not the one that acts. */
static __always_inline void fill_ids(struct event_head *h, bool process)
{
	__u64 ids = process ? bpf_get_current_pid_tgid() : 0;

	h->task = ids >> 32;
	h->tid = process ? tid_of(ids) : 0;
}

static __always_inline void fill_head(struct event_head *h, __u8 kind,
				      const struct sock_common *skc, __u32 netns, __u64 cookie,
				      bool process)
{
	fill_ids(h, process);
	h->time = bpf_ktime_get_ns();
	h->kind = kind;
	h->old_state = 0;
	h->new_state = 0;
	h->family = skc->skc_family;
	h->netns = netns;
	h->sk = (__u64)skc;
	h->cookie = cookie;
}

/*
 * A socket with a link-local address is bound to an interface, and so is its request
 * or timewait socket (net/ipv6/tcp_ipv6.c, tcp_v6_connect and tcp_v6_init_req;
 * net/ipv6/af_inet6.c, __inet6_bind; net/ipv4/inet_timewait_sock.c, 6.12).
 */
static __always_inline void fill_addrs(struct event *e, const struct sock_common *skc)
{
	e->device = skc->skc_bound_dev_if;
	e->released = e->pad[0] = e->pad[1] = e->pad[2] = 0;
	copy_addrs(e->local_addr, e->remote_addr, skc);
	e->local_port = skc->skc_num;
	e->remote_port = bpf_ntohs(skc->skc_dport);
}

/* The CPU as records have it: counted from 1. */
static __always_inline __u32 this_cpu(void)
{
	return bpf_get_smp_processor_id() + 1;
}

static __always_inline void fill_event(struct event *e, __u8 kind, const struct sock *sk,
				       __u32 netns, __u64 cookie, bool process)
{
	fill_head(&e->head, kind, &sk->__sk_common, netns, cookie, process);
	fill_addrs(e, &sk->__sk_common);
	e->uid = sk->sk_uid.val;
	e->inode = 0;
	e->err = sk->sk_err;
	e->cpu = this_cpu();
}

#endif
