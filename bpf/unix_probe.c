// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The life of Unix sockets by kprobes, where there are no trampolines: see bpf/unix.c. A
 * call is remembered at its entry, for its end knows no arguments. The kernel gives a
 * socket no cookie for these programs; one that has none is known by its address.
 */
#include "unix.h"
#include "copy.h"
#include "twice.h"

static __always_inline struct sock *unix_sock_of(const struct socket *socket)
{
	return socket ? BPF_CORE_READ(socket, sk) : NULL;
}

static __always_inline int unix_probed(struct sock *sk, __u8 change, __u8 flags)
{
	__u32 netns;

	if (!sk || !unix_in_scope(sk, &netns, false))
		return 0;
	return unix_send_probed(sk, unix_call_of(change, flags, unix_send_caller()), netns,
				unix_cookie(sk));
}

static __always_inline int unix_probed_ends(struct sock *sk)
{
	__u32 netns;

	if (!sk || !unix_in_scope(sk, &netns, false))
		return 0;
	return unix_probed_both(sk, netns);
}

/* Both probes of a call. */
#define UNIX_PROBES(symbol, name, hook, arg, call)                                                 \
	SEC("kprobe/" symbol) int name##_kprobe(struct pt_regs *ctx)                               \
	{                                                                                          \
		return unix_enter(hook, arg(ctx));                                                 \
	}                                                                                          \
	SEC("kretprobe/" symbol) int name##_kretprobe(struct pt_regs *ctx)                         \
	{                                                                                          \
		void *entered = unix_leave(hook, (int)kprobe_ret(ctx));                            \
                                                                                                   \
		return call;                                                                       \
	}

UNIX_PROBES("unix_bind", unix_bind, TWICE_UNIX_BIND, kprobe_arg1,
	    unix_probed(unix_sock_of(entered), SOCKET_BIND, 0))
UNIX_PROBES("unix_listen", unix_listen, TWICE_UNIX_LISTEN, kprobe_arg1,
	    unix_probed(unix_sock_of(entered), SOCKET_LISTEN, 0))
UNIX_PROBES("unix_accept", unix_accept, TWICE_UNIX_ACCEPT, kprobe_arg2,
	    unix_probed(unix_sock_of(entered), SOCKET_ACCEPT, 0))
UNIX_PROBES("unix_stream_connect", unix_connect, TWICE_UNIX_CONNECT, kprobe_arg1,
	    unix_probed_ends(unix_sock_of(entered)))
UNIX_PROBES("unix_dgram_connect", unix_dgram_connect, TWICE_UNIX_DGRAM, kprobe_arg1,
	    unix_probed_ends(unix_sock_of(entered)))
UNIX_PROBES("unix_socketpair", unix_pair, TWICE_UNIX_PAIR, kprobe_arg1,
	    unix_probed_ends(unix_sock_of(entered)))

/*
 * The argument is a struct socket before 5.17. That has a pointer where a sock has its
 * family, whose lower half is never AF_UNIX: a struct file is aligned.
 */
static __always_inline struct sock *unix_autobinding(void *arg)
{
	struct sock *sk = arg;

	if (!arg || BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX)
		return sk;
	return unix_sock_of(arg);
}

UNIX_PROBES("unix_autobind", unix_autobind, TWICE_UNIX_AUTOBIND, kprobe_arg1,
	    unix_probed(unix_autobinding(entered), SOCKET_BIND, SOCKET_AUTO))

SEC("kretprobe/unix_create1")
int unix_create_kretprobe(struct pt_regs *ctx)
{
	struct sock *sk = (struct sock *)kprobe_ret(ctx);

	return unix_is_error(sk) ? 0 : unix_probed(sk, SOCKET_OPEN, 0);
}

SEC("kprobe/unix_release_sock")
int unix_release_kprobe(struct pt_regs *ctx)
{
	return unix_probed((struct sock *)kprobe_arg1(ctx), SOCKET_CLOSE, 0);
}

SEC("kprobe/unix_dgram_disconnected")
int unix_left_kprobe(struct pt_regs *ctx)
{
	struct sock *old = (struct sock *)kprobe_arg2(ctx);

	if (old && BPF_CORE_READ(old, __sk_common.skc_flags) & 1UL << SOCK_DEAD)
		return unix_probed((struct sock *)kprobe_arg1(ctx), SOCKET_LOST_PEER, 0);
	return unix_probed(old, SOCKET_LOST_PEER, SOCKET_OTHER);
}
