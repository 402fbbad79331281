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

/*
 * Not fulfils_apart: a program may call that with BTF pointers, and the verifier takes
 * one load for one kind of pointer.
 */
static __noinline bool copy_fulfils(const struct copy *c, __u16 local_port)
{
	const struct sock_common *skc = common_of(c);
	__u32 netns = has_netns_atoms ? BPF_CORE_READ(skc, skc_net.net, ns.inum) : 0;

	return fulfils(skc, netns, local_port, unknown_of(skc));
}

static __always_inline bool copy_wanted(const struct copy *c, __u16 local_port)
{
	return !wanted_term_count || copy_fulfils(c, local_port);
}

static __always_inline bool copy_raw(struct copy *c, const void *skc)
{
	return !bpf_probe_read_kernel(c->raw, sizeof(c->raw), skc);
}

/* Whether a copied TCP socket is traced. The caller has asked copy_wanted(). */
static __always_inline bool copy_traced(struct copy *c)
{
	const struct sock_common *skc = common_of(c);

	return traced(IPPROTO_TCP, skc->skc_family,
		      c->netns = BPF_CORE_READ(skc->skc_net.net, ns.inum));
}

/* Copies a TCP socket and returns whether it is wanted and traced. */
static __always_inline bool copy_sock(struct copy *c, const void *skc)
{
	return copy_raw(c, skc) && copy_wanted(c, common_of(c)->skc_num) && copy_traced(c);
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
