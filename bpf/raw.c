// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The addresses of raw sockets. The rest of their life is that of UDP sockets (bpf/udp.c);
 * no cgroup program is called for bind() and connect().
 */
#include "inet.h"

TWICE("fexit/raw_bind", raw_bind_fexit4, ret ? 0 : inet_call(TWICE_RAW_BIND, sk, SOCKET_BIND, 0),
      struct sock *sk, void *addr, int len, int ret)
TWICE("fexit/rawv6_bind", raw_bind_fexit6, ret ? 0 : inet_call(TWICE_RAW_BIND, sk, SOCKET_BIND, 0),
      struct sock *sk, void *addr, int len, int ret)

static __always_inline int raw_bound_probe(struct pt_regs *ctx)
{
	__u64 addr;
	const void *sk = inet_leave(TWICE_RAW_BIND, &addr);

	if (!sk || (int)kprobe_ret(ctx))
		return 0;
	return inet_probe_call(sk, SOCKET_BIND, 0);
}

SEC("kprobe/raw_bind")
int raw_bind_kprobe(struct pt_regs *ctx)
{
	return inet_enter(TWICE_RAW_BIND, ctx);
}

SEC("kretprobe/raw_bind")
int raw_bind_kretprobe(struct pt_regs *ctx)
{
	return raw_bound_probe(ctx);
}

SEC("kprobe/rawv6_bind")
int raw6_bind_kprobe(struct pt_regs *ctx)
{
	return inet_enter(TWICE_RAW_BIND, ctx);
}

SEC("kretprobe/rawv6_bind")
int raw6_bind_kretprobe(struct pt_regs *ctx)
{
	return raw_bound_probe(ctx);
}
