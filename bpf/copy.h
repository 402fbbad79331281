/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sockets of which a program has an address instead of a BTF pointer: those of
 * kprobes and of timers. They are read through a copy, by one probe read.
 */
#ifndef NETTRACE_COPY_H
#define NETTRACE_COPY_H

#include "stream.h"

#if defined(__TARGET_ARCH_x86)
#define kprobe_arg1(ctx) ((ctx)->di)
#define kprobe_arg2(ctx) ((ctx)->si)
#define kprobe_arg3(ctx) ((ctx)->dx)
#define kprobe_ret(ctx) ((ctx)->ax)
#elif defined(__TARGET_ARCH_arm64)
#define kprobe_arg1(ctx) ((ctx)->user_regs.regs[0])
#define kprobe_arg2(ctx) ((ctx)->user_regs.regs[1])
#define kprobe_arg3(ctx) ((ctx)->user_regs.regs[2])
#define kprobe_ret(ctx) ((ctx)->user_regs.regs[0])
#endif

/* The start of a socket, as long as the kernel's sock_common may be. */
struct copy {
	__u64 raw[16];
	__u32 netns;
};

/* The copy as the kernel's type, whose fields are found by relocation as usual. */
static __always_inline const struct sock_common *common_of(const struct copy *c)
{
	return (const struct sock_common *)c->raw;
}

/* Copies a TCP socket and returns whether it is traced. The caller asks wanted(). */
static __always_inline bool copy_in_scope(struct copy *c, const void *skc)
{
	const struct sock_common *common = common_of(c);

	if (bpf_probe_read_kernel(c->raw, sizeof(c->raw), skc))
		return false;
	return traced(IPPROTO_TCP, common->skc_family,
		      c->netns = BPF_CORE_READ(common->skc_net.net, ns.inum));
}

/*
 * Not fulfils_apart: a program may call that with BTF pointers, and the verifier takes
 * one load for one kind of pointer.
 */
static __noinline bool copy_fulfils(const struct copy *c)
{
	const struct sock_common *skc = common_of(c);

	return fulfils(skc, c->netns, skc->skc_num, unknown_of(skc));
}

/* Copies a TCP socket and returns whether it is traced and wanted. */
static __always_inline bool copy_sock(struct copy *c, const void *skc)
{
	return copy_in_scope(c, skc) && (!wanted_term_count || copy_fulfils(c));
}

/*
 * The cookie is set where programs can ask for it: the one of the first transition has,
 * or the reader by sock_diag.
 */
static __always_inline void copy_head(struct event_head *h, __u8 kind, const void *skc,
				      const struct copy *c)
{
	fill_head(h, kind, common_of(c), c->netns, common_of(c)->skc_cookie.counter, false);
	h->sk = (__u64)skc;
}

static __always_inline void copy_event(struct event *e, __u8 kind, const void *skc,
				       const struct copy *c)
{
	copy_head(&e->head, kind, skc, c);
	fill_addrs(e, common_of(c));
	e->uid = UID_UNKNOWN; /* the copy does not reach it */
	e->inode = 0;
	e->err = 0;
	e->cpu = this_cpu();
}

#endif
