// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The stream: every transition of every TCP socket, who called connect, listen
 * and accept, the life of request and timewait sockets, and the passes over the
 * kernel's tables that a snapshot is made of, all in one ring buffer. The place
 * in the ring is the order of events: a socket's events are submitted under its
 * lock, so their order is the kernel's own.
 *
 * Every program is loaded by itself; package tracer chooses among them. The
 * programs on tp_btf and fentry read by direct loads only, so that they load
 * under lockdown=confidentiality too, where bpf_probe_read_kernel is refused.
 */
#include "kernel.h"
#include "event.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Settings, written by the loader. */
const volatile __u32 only_netns;  /* inode of the namespace to trace; 0: all */
const volatile __u16 only_family; /* AF_INET or AF_INET6: of the sockets to trace; 0: both */
const volatile __u32 self;	  /* our own thread-group id */
const volatile __u64 wakeup_at;	  /* bytes in the ring at which the reader is woken */
const volatile bool has_cookie;	  /* tracing programs may ask for the socket cookie (5.12) */
const volatile bool has_task_btf; /* bpf_get_current_task_btf (5.11) */
const volatile bool can_probe;	  /* bpf_probe_read_kernel is allowed (lockdown) */
const volatile bool count_all;	  /* count the records that are sent: for tests */

/* No hook sees accept: name the process at every call. Set when that is known. */
bool owner_by_use;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

enum count {
	COUNT_DROPPED, /* records that did not fit in the ring */
	COUNT_SENT,    /* those that did, with count_all */
	COUNTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/* The transition that the copies of the state program handled last on this CPU. */
struct mark {
	__u64 sk;
	__u64 states;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mark);
} marks SEC(".maps");

/*
 * The transition that sock_ops saw last on this CPU and that the state program
 * has not taken yet; an empty cookie when it has.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} twins SEC(".maps");

/*
 * Addresses of the timer functions: from kallsyms, or where it hides them from the
 * first timewait and request socket that a pass over the tables meets.
 */
__u64 tw_timer_handler;
__u64 reqsk_timer_handler;

/* sock_ops watches the transitions too. Set when that is known. */
bool watched;

/* Processes whose name and command line were sent; renewed by exec. */
struct seen {
	__u64 start;
	__u64 exec_id;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct seen);
} processes SEC(".maps");

/* Keeps the types that cross the ring in the object's BTF, for bpf2go. */
const enum event_kind *kind_type __attribute__((unused));
const enum count *count_type __attribute__((unused));
const struct event *event_type __attribute__((unused));
const struct owner_event *owner_event_type __attribute__((unused));
const struct close_event *close_event_type __attribute__((unused));
const struct row_event *row_event_type __attribute__((unused));
const struct process_event *process_event_type __attribute__((unused));

/* ---- helpers ---- */

static __always_inline void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &which);

	if (n) /* a softirq may interrupt the addition */
		__sync_fetch_and_add(n, 1);
}

static __always_inline void *reserve(__u64 size)
{
	void *record = bpf_ringbuf_reserve(&events, size, 0);

	if (!record)
		count(COUNT_DROPPED);
	return record;
}

/*
 * A wake-up costs about 3 us, thirty times the record itself: the reader polls,
 * and is woken only when the ring fills faster than it polls, by the records that
 * lie within WAKEUP_WINDOW bytes from there on. A reader that is late already need
 * not be told by each of them.
 */
#define WAKEUP_WINDOW 4096

static __always_inline void submit(void *record)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) - wakeup_at < WAKEUP_WINDOW)
		flags = BPF_RB_FORCE_WAKEUP;
	if (count_all)
		count(COUNT_SENT);
	bpf_ringbuf_submit(record, flags);
}

static __always_inline __u64 cookie_of(void *sk)
{
	return has_cookie ? bpf_get_socket_cookie(sk) : 0;
}

/*
 * Followed once in a program: the verifier looks up the types of every pointer
 * that is loaded from another by name, milliseconds each (btf_nested_type_is_trusted,
 * kernel/bpf/btf.c).
 */
static __always_inline __u32 netns_of(const struct sock_common *skc)
{
	return skc->skc_net.net->ns.inum;
}

static __always_inline bool traced_netns(__u32 netns)
{
	return !only_netns || netns == only_netns;
}

static __always_inline bool traced_family(__u16 family)
{
	if (only_family)
		return family == only_family;
	return family == AF_INET || family == AF_INET6;
}

/* Gives the network namespace too. */
static __always_inline bool is_traced_tcp(const struct sock *sk, __u32 *netns)
{
	if (sk->sk_protocol != IPPROTO_TCP || !traced_family(sk->__sk_common.skc_family))
		return false;
	*netns = netns_of(&sk->__sk_common);
	return traced_netns(*netns);
}

/*
 * A transition made by a system call holds the socket; one made by a packet or a
 * timer does not, and runs while some unrelated task is current. Our own
 * iterator holds sockets too, and then works off what packets left behind.
 */
static __always_inline bool in_process_context(const struct sock *sk)
{
	return sk->sk_lock.owned && bpf_get_current_pid_tgid() >> 32 != self;
}

static __always_inline void fill_head(struct event_head *h, __u8 kind,
				      const struct sock_common *skc, __u32 netns, __u64 cookie,
				      bool process)
{
	__u64 id = process ? bpf_get_current_pid_tgid() : 0;

	h->time = bpf_ktime_get_ns();
	h->kind = kind;
	h->old_state = 0;
	h->new_state = 0;
	h->family = skc->skc_family;
	h->netns = netns;
	h->sk = (__u64)skc;
	h->cookie = cookie;
	h->pid = id >> 32;
	h->tid = id;
}

static __always_inline void fill_addrs(struct event *e, const struct sock_common *skc)
{
	__u32 *local = (__u32 *)e->local_addr, *remote = (__u32 *)e->remote_addr;

	if (skc->skc_family == AF_INET) {
		local[0] = skc->skc_rcv_saddr;
		remote[0] = skc->skc_daddr;
		local[1] = local[2] = local[3] = 0;
		remote[1] = remote[2] = remote[3] = 0;
	} else {
		local[0] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		local[1] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		local[2] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		local[3] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		remote[0] = skc->skc_v6_daddr.in6_u.u6_addr32[0];
		remote[1] = skc->skc_v6_daddr.in6_u.u6_addr32[1];
		remote[2] = skc->skc_v6_daddr.in6_u.u6_addr32[2];
		remote[3] = skc->skc_v6_daddr.in6_u.u6_addr32[3];
	}
	e->local_port = skc->skc_num;
	e->remote_port = bpf_ntohs(skc->skc_dport);
}

/* The inode of a socket that belongs to a file; kernel sockets have none here. */
static __always_inline __u32 inode_of(const struct socket *socket)
{
	if (!socket)
		return 0;
	if (socket->file)
		return socket->file->f_inode->i_ino;
	return 0;
}

static __always_inline void fill_event(struct event *e, __u8 kind, const struct sock *sk,
				       __u32 netns, __u64 cookie, bool process)
{
	fill_head(&e->head, kind, &sk->__sk_common, netns, cookie, process);
	fill_addrs(e, &sk->__sk_common);
	e->uid = sk->sk_uid.val;
	e->inode = 0;
	e->err = sk->sk_err;
	e->pad = 0;
}

static __always_inline struct task_struct *current_task(void)
{
	if (has_task_btf)
		return bpf_get_current_task_btf();
	return (struct task_struct *)bpf_get_current_task();
}

/* Reads a field of a task: a direct load where the task is a BTF pointer. */
#define task_field(task, field) (has_task_btf ? (task)->field : BPF_CORE_READ(task, field))

static __always_inline void fill_cmdline(struct process_event *p, struct task_struct *leader)
{
	struct mm_struct *mm = task_field(leader, mm);
	unsigned long start, len;

	p->cmdline_len = 0;
	if (!mm) /* a kernel thread */
		return;
	if (has_task_btf) {
		start = mm->arg_start;
		len = mm->arg_end - start;
	} else {
		start = BPF_CORE_READ(mm, arg_start);
		len = BPF_CORE_READ(mm, arg_end) - start;
	}
	if (len > CMDLINE_MAX)
		len = CMDLINE_MAX;
	if (!bpf_probe_read_user(p->cmdline, len, (void *)start))
		p->cmdline_len = len;
}

/*
 * Sends the name and command line of the current process when it is not the
 * one last sent under its id: it may be gone before anybody can ask /proc.
 */
static __always_inline void send_process(void)
{
	struct task_struct *task = current_task(), *leader;
	struct process_event *p;
	struct seen now, *seen;
	__u32 pid;

	leader = task_field(task, group_leader);
	pid = bpf_get_current_pid_tgid() >> 32;
	now.start = task_field(leader, start_time);
	now.exec_id = task_field(leader, self_exec_id);
	seen = bpf_map_lookup_elem(&processes, &pid);
	if (seen && seen->start == now.start && seen->exec_id == now.exec_id)
		return;
	p = reserve(sizeof(*p));
	if (!p)
		return;
	p->time = bpf_ktime_get_ns();
	p->kind = EVENT_PROCESS;
	p->pad[0] = p->pad[1] = p->pad[2] = 0;
	p->pid = pid;
	p->uid = bpf_get_current_uid_gid();
	if (has_task_btf) {
		__u64 *comm = (__u64 *)p->comm;

		comm[0] = *(__u64 *)&leader->comm[0];
		comm[1] = *(__u64 *)&leader->comm[8];
	} else {
		BPF_CORE_READ_STR_INTO(&p->comm, leader, comm);
	}
	fill_cmdline(p, leader);
	submit(p);
	bpf_map_update_elem(&processes, &pid, &now, BPF_ANY);
}

/* ---- transitions: any context, all kernels ---- */

static __always_inline int send_owner(const struct sock *sk, __u8 kind, int from, int to,
				      const struct socket *socket, __u32 netns, __u64 cookie)
{
	struct owner_event *o;

	o = reserve(sizeof(*o));
	if (!o)
		return 0;
	fill_event(&o->event, kind, sk, netns, cookie, true);
	o->event.head.old_state = from;
	o->event.head.new_state = to;
	o->event.inode = inode_of(socket);
	o->cgroup = bpf_get_current_cgroup_id();
	if (bpf_get_current_comm(o->thread, sizeof(o->thread)))
		o->thread[0] = 0;
	/* A socket that connects again still shows its former port. */
	if (from == TCP_CLOSE && to == TCP_SYN_SENT)
		o->event.local_port = sk->__sk_common.skc_num;
	submit(o);
	return 0;
}

static __always_inline int send_close(struct sock *sk, int from, __u32 netns, __u64 cookie,
				      bool process)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct close_event *c;

	if (!tp)
		return 0;
	c = reserve(sizeof(*c));
	if (!c)
		return 0;
	fill_event(&c->event, EVENT_STATE, sk, netns, cookie, process);
	c->event.head.old_state = from;
	c->event.head.new_state = TCP_CLOSE;
	/* skc_num is cleared already, inet_sport is not (tcp_set_state). */
	c->event.local_port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	c->bytes_sent = tp->bytes_sent;
	c->bytes_received = tp->bytes_received;
	c->segs_out = tp->segs_out;
	c->segs_in = tp->segs_in;
	c->retrans = tp->total_retrans;
	c->rtt_us = tp->srtt_us >> 3;
	c->min_rtt_us = tp->rtt_min.s[0].v;
	c->pad = 0;
	submit(c);
	return 0;
}

static __always_inline void take_twin(__u64 cookie, int from, int to)
{
	__u32 zero = 0;
	struct event *twin = bpf_map_lookup_elem(&twins, &zero);

	if (twin && twin->head.cookie == cookie && twin->head.old_state == from &&
	    twin->head.new_state == to)
		twin->head.cookie = 0;
}

static __always_inline int handle_state(struct sock *sk, int from, int to)
{
	struct event *e;
	__u64 cookie;
	__u32 netns;
	bool process;

	if (!is_traced_tcp(sk, &netns))
		return 0;
	/*
	 * A child just cloned from its listener: before 6.18 it still carries the
	 * listener's cookie and no addresses (inet_csk_clone_lock). The request
	 * socket has told the state already.
	 */
	if (from == TCP_LISTEN && to == TCP_SYN_RECV && !sk->__sk_common.skc_dport)
		return 0;
	cookie = cookie_of(sk);
	if (watched)
		take_twin(cookie, from, to);
	process = in_process_context(sk);
	if (process && (from == TCP_CLOSE || owner_by_use))
		send_process();
	if (to == TCP_CLOSE)
		return send_close(sk, from, netns, cookie, process);
	if (process && from == TCP_CLOSE)
		return send_owner(sk, EVENT_STATE, from, to, sk->sk_socket, netns, cookie);
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	fill_event(e, EVENT_STATE, sk, netns, cookie, process);
	e->head.old_state = from;
	e->head.new_state = to;
	submit(e);
	return 0;
}

/*
 * Since 6.1 the kernel skips a tracing program that is active on this CPU
 * already (__bpf_trace_run), and a softirq that interrupts it loses all its
 * transitions. So there are copies, attached in this order, and each handles
 * what none before it did. A process and a softirq can hold two of them; where
 * tracing programs are preempted (7.x) a second process may hold the third.
 */
static __always_inline int handle_once(struct sock *sk, int from, int to, bool first, bool last)
{
	__u64 states = (__u64)from << 32 | (__u32)to;
	struct mark *mark;
	__u32 zero = 0;

	mark = bpf_map_lookup_elem(&marks, &zero);
	if (!mark)
		return 0;
	if (!first && mark->sk == (__u64)sk && mark->states == states) {
		if (last)
			mark->sk = 0; /* it may make the same transition again */
		return 0;
	}
	handle_state(sk, from, to);
	mark->sk = last ? 0 : (__u64)sk;
	mark->states = states;
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_a, struct sock *sk, int from, int to)
{
	return handle_once(sk, from, to, true, false);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_b, struct sock *sk, int from, int to)
{
	return handle_once(sk, from, to, false, false);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_c, struct sock *sk, int from, int to)
{
	return handle_once(sk, from, to, false, true);
}

/* ---- local port of a connect or an unbound listen: process context ---- */

static __always_inline int send_port(struct sock *sk)
{
	struct event *e;
	__u32 netns;

	if (!is_traced_tcp(sk, &netns))
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	fill_event(e, EVENT_PORT, sk, netns, cookie_of(sk), true);
	submit(e);
	return 0;
}

SEC("fentry/tcp_connect")
int BPF_PROG(connect_fentry, struct sock *sk)
{
	return send_port(sk);
}

SEC("fexit/inet_csk_listen_start")
int BPF_PROG(listen_fexit, struct sock *sk)
{
	return send_port(sk);
}

#if defined(__TARGET_ARCH_x86)
#define kprobe_arg1(ctx) ((ctx)->di)
#define kprobe_arg3(ctx) ((ctx)->dx)
#define kprobe_ret(ctx) ((ctx)->ax)
#elif defined(__TARGET_ARCH_arm64)
#define kprobe_arg1(ctx) ((ctx)->user_regs.regs[0])
#define kprobe_arg3(ctx) ((ctx)->user_regs.regs[2])
#define kprobe_ret(ctx) ((ctx)->user_regs.regs[0])
#endif

/*
 * A copy of the start of a sock_common, for the kprobes and timer programs, which
 * have no BTF pointer: one probe read for all fields.
 */
struct copy {
	__u8 raw[128];
	__u32 netns;
};

#define copied(c, type, field)                                                                     \
	(*(type *)((c)->raw + bpf_core_field_offset(struct sock_common, field)))

/* Copies a socket; false when it is not traced. */
static __always_inline bool copy_sock(struct copy *c, const void *skc)
{
	struct net *net;

	if (bpf_probe_read_kernel(c->raw, sizeof(c->raw), skc))
		return false;
	if (!traced_family(copied(c, __u16, skc_family)))
		return false;
	net = copied(c, struct net *, skc_net);
	c->netns = BPF_CORE_READ(net, ns.inum);
	return traced_netns(c->netns);
}

static __always_inline void copy_head(struct event_head *h, __u8 kind, const void *skc,
				      const struct copy *c)
{
	h->time = bpf_ktime_get_ns();
	h->kind = kind;
	h->old_state = 0;
	h->new_state = 0;
	h->family = copied(c, __u16, skc_family);
	h->netns = c->netns;
	h->sk = (__u64)skc;
	/* Asked for at the first transition, so it is there; 0 where cookies are not used. */
	h->cookie = has_cookie ? copied(c, __u64, skc_cookie) : 0;
	h->pid = 0;
	h->tid = 0;
}

static __always_inline void copy_event(struct event *e, __u8 kind, const void *skc,
				       const struct copy *c)
{
	copy_head(&e->head, kind, skc, c);
	e->local_port = copied(c, __u16, skc_num);
	e->remote_port = bpf_ntohs(copied(c, __u16, skc_dport));
	if (e->head.family == AF_INET) {
		__builtin_memset(e->local_addr, 0, sizeof(e->local_addr));
		__builtin_memset(e->remote_addr, 0, sizeof(e->remote_addr));
		*(__u32 *)e->local_addr = copied(c, __u32, skc_rcv_saddr);
		*(__u32 *)e->remote_addr = copied(c, __u32, skc_daddr);
	} else {
		__builtin_memcpy(e->local_addr, &copied(c, __u8, skc_v6_rcv_saddr), 16);
		__builtin_memcpy(e->remote_addr, &copied(c, __u8, skc_v6_daddr), 16);
	}
	e->uid = 0;
	e->inode = 0;
	e->err = 0;
	e->pad = 0;
}

SEC("kprobe/tcp_connect")
int connect_kprobe(struct pt_regs *ctx)
{
	const void *skc = (const void *)kprobe_arg1(ctx);
	struct event *e;
	struct copy c;

	if (!copy_sock(&c, skc))
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	copy_event(e, EVENT_PORT, skc, &c);
	submit(e);
	return 0;
}

/*
 * tcp_set_state calls sock_ops just before the tracepoint. What the state program
 * has not taken by the next call on this CPU it was not run for: the kernel skips
 * it where it is active already, and some kernels by a policy of their own.
 */
static __always_inline void watch_state(struct bpf_sock_ops *ops, struct sock *sk, __u32 netns,
					__u64 cookie)
{
	__u32 zero = 0;
	struct event *twin = bpf_map_lookup_elem(&twins, &zero), *missed;
	volatile __u64 *states, *whose;
	__u64 former, transition;

	if (!twin)
		return;
	/*
	 * A softirq that makes a transition may come between any two instructions
	 * here: kind, states, family and netns are one word, and the cookie, without
	 * which the rest counts for nothing, is the last to be written and looked at
	 * again.
	 */
	states = (volatile __u64 *)&twin->head.kind;
	whose = &twin->head.cookie;
	former = *whose;
	transition = *states;
	if (former && *whose == former) {
		missed = reserve(sizeof(*missed));
		if (missed) {
			*missed = *twin;
			*(__u64 *)&missed->head.kind = transition;
			missed->head.cookie = former;
			submit(missed);
		}
	}
	*whose = 0;
	twin->head.time = bpf_ktime_get_ns();
	*states = EVENT_MISSED | ops->args[0] << 8 | ops->args[1] << 16 |
		  sk->__sk_common.skc_family << 24 | (__u64)netns << 32;
	twin->head.sk = (__u64)sk;
	twin->err = sk->sk_err;
	if (ops->args[0] == TCP_SYN_RECV) /* it may be all that is told of a child */
		fill_addrs(twin, &sk->__sk_common);
	*whose = cookie;
}

/* TCP_CONNECT_CB is the first statement of tcp_connect, as the probes above. */
SEC("sockops")
int connect_sockops(struct bpf_sock_ops *ops)
{
	struct event *e;
	struct sock *sk;
	__u32 op = ops->op, netns;

	if (op != BPF_SOCK_OPS_TCP_CONNECT_CB && op != BPF_SOCK_OPS_TCP_LISTEN_CB &&
	    op != BPF_SOCK_OPS_STATE_CB)
		return 1;
	if (!ops->sk)
		return 1;
	sk = (struct sock *)bpf_skc_to_tcp_sock(ops->sk);
	if (!sk || !is_traced_tcp(sk, &netns))
		return 1;
	if (op == BPF_SOCK_OPS_STATE_CB) {
		watch_state(ops, sk, netns, bpf_get_socket_cookie(ops));
		return 1;
	}
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	e = reserve(sizeof(*e));
	if (!e)
		return 1;
	fill_event(e, EVENT_PORT, sk, netns, bpf_get_socket_cookie(ops), false);
	submit(e);
	return 1;
}

/* ---- acceptor: process context ---- */

static __always_inline int accepted(struct socket *socket)
{
	struct sock *sk = socket->sk;
	__u32 netns;

	if (!sk || !is_traced_tcp(sk, &netns))
		return 0;
	send_process();
	return send_owner(sk, EVENT_ACCEPT, 0, 0, socket, netns, cookie_of(sk));
}

/* 6.10 on: the last step of every accept of an Internet stream socket. */
SEC("fexit/__inet_accept")
int BPF_PROG(accept_fexit, struct socket *socket, struct socket *new_socket)
{
	return accepted(new_socket);
}

/* Before 6.10; new_socket->sk stays unset when accept fails. */
SEC("fexit/inet_accept")
int BPF_PROG(accept_fexit_old, struct socket *socket, struct socket *new_socket)
{
	return accepted(new_socket);
}

SEC("kretprobe/inet_csk_accept")
int accept_kretprobe(struct pt_regs *ctx)
{
	const void *skc = (const void *)kprobe_ret(ctx);
	struct owner_event *o;
	struct copy c;
	__u64 id;

	if (!skc || !copy_sock(&c, skc))
		return 0;
	send_process();
	o = reserve(sizeof(*o));
	if (!o)
		return 0;
	id = bpf_get_current_pid_tgid();
	copy_event(&o->event, EVENT_ACCEPT, skc, &c);
	o->event.head.pid = id >> 32;
	o->event.head.tid = id;
	o->cgroup = bpf_get_current_cgroup_id();
	if (bpf_get_current_comm(o->thread, sizeof(o->thread)))
		o->thread[0] = 0;
	submit(o);
	return 0;
}

/* ---- closer: process context ---- */

SEC("fentry/tcp_close")
int BPF_PROG(close_fentry, struct sock *sk)
{
	struct event_head *h;
	__u32 netns;

	if (!is_traced_tcp(sk, &netns) || sk->__sk_common.skc_state == TCP_CLOSE)
		return 0;
	h = reserve(sizeof(*h));
	if (!h)
		return 0;
	fill_head(h, EVENT_RELEASE, &sk->__sk_common, netns, cookie_of(sk), true);
	submit(h);
	return 0;
}

SEC("cgroup/sock_release")
int close_cgroup(struct bpf_sock *sk)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct event_head *h;

	if (sk->protocol != IPPROTO_TCP || sk->state == TCP_CLOSE || !traced_family(sk->family))
		return 1;
	h = reserve(sizeof(*h));
	if (!h)
		return 1;
	__builtin_memset(h, 0, sizeof(*h));
	h->time = bpf_ktime_get_ns();
	h->kind = EVENT_RELEASE;
	h->family = sk->family;
	h->cookie = bpf_get_socket_cookie(sk);
	h->pid = id >> 32;
	h->tid = id;
	submit(h);
	return 1;
}

/* ---- request and timewait sockets: softirq or process, all kernels ---- */

static __always_inline bool is_mini(struct timer_list *timer, struct sock_common **skc,
				    bool *timewait)
{
	__u64 function = (__u64)timer->function;

	if (!function)
		return false;
	if (function == tw_timer_handler) {
		*skc = (void *)timer - bpf_core_field_offset(struct inet_timewait_sock, tw_timer);
		*timewait = true;
		return true;
	}
	if (function == reqsk_timer_handler) {
		*skc = (void *)timer - bpf_core_field_offset(struct request_sock, rsk_timer);
		*timewait = false;
		return true;
	}
	return false;
}

SEC("tp_btf/timer_start")
int BPF_PROG(mini_born, struct timer_list *timer)
{
	struct sock_common *skc;
	struct event *e;
	struct copy c;
	bool timewait;

	if (!is_mini(timer, &skc, &timewait) || !copy_sock(&c, skc))
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	copy_event(e, EVENT_MINI_BORN, skc, &c);
	e->head.new_state = TCP_SYN_RECV;
	if (timewait)
		e->head.new_state = BPF_CORE_READ((struct inet_timewait_sock *)skc, tw_substate);
	submit(e);
	return 0;
}

SEC("tp_btf/timer_cancel")
int BPF_PROG(mini_gone, struct timer_list *timer)
{
	struct sock_common *skc;
	struct event_head *h;
	struct copy c;
	bool timewait;

	if (!is_mini(timer, &skc, &timewait) || !copy_sock(&c, skc))
		return 0;
	h = reserve(sizeof(*h));
	if (!h)
		return 0;
	copy_head(h, EVENT_MINI_GONE, skc, &c);
	submit(h);
	return 0;
}

/*
 * FIN_WAIT2 -> TIME_WAIT inside a timewait socket re-arms its timer, often into
 * the bucket where it is already, which no timer tracepoint shows.
 */
SEC("fentry/__inet_twsk_schedule")
int BPF_PROG(mini_state, struct inet_timewait_sock *tw, int timeout, bool rearm)
{
	struct event_head *h;
	__u32 netns;

	if (!rearm || tw->tw_substate != TCP_TIME_WAIT ||
	    !traced_family(tw->__tw_common.skc_family))
		return 0;
	netns = netns_of(&tw->__tw_common);
	if (!traced_netns(netns))
		return 0;
	h = reserve(sizeof(*h));
	if (!h)
		return 0;
	fill_head(h, EVENT_MINI_STATE, &tw->__tw_common, netns,
		  has_cookie ? tw->__tw_common.skc_cookie.counter : 0, false);
	h->new_state = TCP_TIME_WAIT;
	submit(h);
	return 0;
}

SEC("kprobe/__inet_twsk_schedule")
int mini_state_kprobe(struct pt_regs *ctx)
{
	struct inet_timewait_sock *tw = (struct inet_timewait_sock *)kprobe_arg1(ctx);
	struct event_head *h;
	struct copy c;

	if (!(bool)kprobe_arg3(ctx) || BPF_CORE_READ(tw, tw_substate) != TCP_TIME_WAIT ||
	    !copy_sock(&c, tw))
		return 0;
	h = reserve(sizeof(*h));
	if (!h)
		return 0;
	copy_head(h, EVENT_MINI_STATE, tw, &c);
	h->new_state = TCP_TIME_WAIT;
	submit(h);
	return 0;
}

/*
 * The same where neither loads: looks at the timewait sockets that the
 * reader names. Their memory may have been given back meanwhile; the cookie tells.
 */
#define REFRESH_MAX 512

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REFRESH_MAX);
	__type(key, __u32);
	__type(value, struct mini_ref);
} mini_refs SEC(".maps");

struct refresh_args {
	__u32 count;
};

static long refresh_one(void *map, __u32 *index, struct mini_ref *ref, struct refresh_args *args)
{
	struct inet_timewait_sock *tw = (struct inet_timewait_sock *)ref->sk;
	struct event_head *h;
	struct copy c;

	if (*index >= args->count)
		return 1;
	if (BPF_CORE_READ(tw, tw_substate) != TCP_TIME_WAIT || !copy_sock(&c, tw) ||
	    copied(&c, __u64, skc_cookie) != ref->cookie)
		return 0;
	h = reserve(sizeof(*h));
	if (!h)
		return 1;
	copy_head(h, EVENT_MINI_STATE, tw, &c);
	h->new_state = TCP_TIME_WAIT;
	submit(h);
	return 0;
}

SEC("syscall")
int mini_refresh(struct refresh_args *ctx)
{
	struct refresh_args args = {.count = ctx->count};

	/* Not a loop: the verifier would walk it entry by entry, for 80 ms. */
	bpf_for_each_map_elem(&mini_refs, refresh_one, &args, 0);
	return 0;
}

/* ---- passes over the kernel's tables: context of our own process ---- */

/* The inode of any socket, a kernel one's too: as sock_i_ino finds it. */
static __always_inline __u32 any_inode_of(struct socket *socket)
{
	unsigned long ino = 0;

	if (!socket)
		return 0;
	if (!can_probe)
		return inode_of(socket);
	bpf_core_read(&ino, sizeof(ino), &((struct socket_alloc *)socket)->vfs_inode.i_ino);
	return ino;
}

static __always_inline void fill_row(struct row_event *r, struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct cgroup *cgroup = NULL;

	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup)) /* 5.15 */
		cgroup = sk->sk_cgrp_data.cgroup;
	r->event.uid = sk->sk_uid.val;
	r->event.err = sk->sk_err;
	r->event.inode = any_inode_of(sk->sk_socket);
	if (cgroup)
		r->cgroup = cgroup->kn->id;
	if (!tp)
		return;
	r->send_q = tp->write_seq - tp->snd_una;
	if (sk->__sk_common.skc_state == TCP_LISTEN) {
		r->recv_q = sk->sk_ack_backlog;
		r->send_q = 0;
	} else if ((int)(tp->rcv_nxt - tp->copied_seq) > 0) {
		r->recv_q = tp->rcv_nxt - tp->copied_seq;
	}
}

/*
 * Room for a record of a pass: a quarter of the ring is enough for those. A pass can
 * wait, the events that come meanwhile cannot.
 */
static __always_inline void *reserve_row(__u64 size)
{
	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_at)
		return NULL;
	return bpf_ringbuf_reserve(&events, size, 0);
}

/*
 * The row goes the way of the events and under the lock of its socket, so every
 * event of the socket before it is older than the row, and every one after it
 * is newer. Where there is no room the kernel is told to show the socket again.
 */
SEC("iter/tcp")
int rows(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_request_sock *req;
	struct tcp_timewait_sock *tw;
	struct row_event *r;
	struct sock *sk;
	__u32 netns = 0;

	if (skc) {
		netns = netns_of(skc);
		if (!traced_netns(netns) || !traced_family(skc->skc_family))
			return 0;
	}
	r = reserve_row(sizeof(*r));
	if (!r)
		return 1;
	__builtin_memset(r, 0, sizeof(*r));
	r->event.head.time = bpf_ktime_get_ns();
	r->event.head.kind = EVENT_ROWS_END;
	if (!skc) {
		submit(r);
		return 0;
	}
	fill_head(&r->event.head, EVENT_ROW, skc, netns, cookie_of(skc), false);
	fill_addrs(&r->event, skc);
	r->event.uid = ctx->uid;
	r->event.head.new_state = skc->skc_state;
	if (skc->skc_state == TCP_TIME_WAIT) {
		tw = bpf_skc_to_tcp_timewait_sock(skc);
		if (tw) {
			r->event.head.new_state = tw->tw_sk.tw_substate;
			if (!tw_timer_handler)
				tw_timer_handler = (__u64)tw->tw_sk.tw_timer.function;
		}
		r->event.head.old_state = TCP_TIME_WAIT;
	} else if (skc->skc_state == TCP_NEW_SYN_RECV) {
		r->event.head.new_state = TCP_SYN_RECV;
		r->event.head.old_state = TCP_NEW_SYN_RECV;
		req = bpf_skc_to_tcp_request_sock(skc);
		if (req && !reqsk_timer_handler)
			reqsk_timer_handler = (__u64)req->req.req.rsk_timer.function;
	} else {
		sk = (struct sock *)bpf_skc_to_tcp_sock(skc);
		if (sk)
			fill_row(r, sk);
	}
	submit(r);
	return 0;
}

/* Which process holds which socket. bpf_sock_from_file: 5.11. */
SEC("iter/task_file")
int files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct event_head *h;
	struct socket *socket;
	struct sock *sk;
	__u32 netns;

	if (!file || !task || task->tgid != task->pid)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !is_traced_tcp(sk, &netns))
		return 0;
	h = reserve_row(sizeof(*h));
	if (!h)
		return 1;
	fill_head(h, EVENT_FILE, &sk->__sk_common, netns, cookie_of(sk), false);
	h->pid = task->tgid;
	submit(h);
	return 0;
}
