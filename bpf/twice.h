/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Programs on trampolines (fentry, fexit) and tracepoints that are attached twice. The kernel skips
 * such a program on a CPU where it is active already (__bpf_prog_enter_recur,
 * kernel/bpf/trampoline.c, 6.12). Where processes are preempted inside the kernel
 * (preempt=full, and lazy, which is the default of 7.x) one may be preempted within
 * the program, and what others do on that CPU meanwhile would be lost. The second
 * copy sees it: both are skipped only where one process is preempted within each.
 *
 * Which copy runs first does not matter. The first one that runs for a call handles
 * it and leaves a mark, the other one finds the mark, clears it and does nothing.
 * Where others come in between, a call may be reported twice, which changes nothing:
 * the records say what is, not what changes.
 *
 * Kprobes and cgroup programs run with preemption off and need no copy; so do the
 * tracepoints of timers, which are called with interrupts off.
 */
#ifndef NETTRACE_TWICE_H
#define NETTRACE_TWICE_H

#include "stream.h"

/* The hooks that have two copies. Each has a mark of its own. */
enum twice {
	TWICE_CONNECT,
	TWICE_LISTEN,
	TWICE_ACCEPT,
	TWICE_CLOSE,
	TWICE_SUBSTATE,
	TWICE_RESET,
	TWICE_DEFERRED,
	TWICE_INET_OPEN,
	TWICE_INET_BIND,
	TWICE_INET_CONNECT4,
	TWICE_INET_CONNECT6,
	TWICE_INET_DISCONNECT,
	TWICE_INET_CLOSE,
	TWICE_INET_FAMILY,
	TWICE_RAW_BIND,
	TWICE_UNIX_CREATE,
	TWICE_UNIX_RELEASE,
	TWICE_UNIX_BIND,
	TWICE_UNIX_AUTOBIND,
	TWICE_UNIX_LISTEN,
	TWICE_UNIX_ACCEPT,
	TWICE_UNIX_CONNECT,
	TWICE_UNIX_DGRAM,
	TWICE_UNIX_PAIR,
	TWICE_UNIX_LEFT,
	TWICE_HOOKS,
};

/* What a copy of the hook handled last on this CPU: a cookie, or an address; or 0. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TWICE_HOOKS);
	__type(key, __u32);
	__type(value, __u64);
} handled SEC(".maps");

/*
 * Whether the other copy has handled this call. A mark stays behind where the other
 * copy was skipped; the cookie keeps it from being taken for one of the next socket
 * at that address. Kernels without cookies here (before 5.12) skip nothing.
 */
static __always_inline bool handled_already(__u32 hook, const void *sk, __u64 cookie)
{
	__u64 *mark = bpf_map_lookup_elem(&handled, &hook);
	__u64 now = cookie ? cookie : (__u64)sk;

	if (!mark)
		return false;
	if (*mark == now) {
		*mark = 0;
		return true;
	}
	*mark = now;
	return false;
}

/* Defines both copies of a program, NAME_a and NAME_b, whose body is a call. */
#define TWICE(section, name, call, args...)                                                        \
	SEC(section) int BPF_PROG(name##_a, args)                                                  \
	{                                                                                          \
		return call;                                                                       \
	}                                                                                          \
	SEC(section) int BPF_PROG(name##_b, args)                                                  \
	{                                                                                          \
		return call;                                                                       \
	}

#endif
