/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What is read of a socket: namespace, addresses, inode. All are direct loads: they
 * need a pointer that the verifier knows the type of, or one to a copy of a socket
 * on the stack. There are no maps and no programs here.
 */
#ifndef NETTRACE_SOCK_H
#define NETTRACE_SOCK_H

#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

/*
 * Call it once per program: the verifier searches BTF by name for each pointer
 * loaded through a pointer (btf_nested_type_is_trusted, kernel/bpf/btf.c), which
 * takes milliseconds of load time.
 */
static __always_inline __u32 netns_of(const struct sock_common *skc)
{
	return skc->skc_net.net->ns.inum;
}

/* Copies both addresses: network byte order, IPv4 in the first four of 16 bytes. */
static __always_inline void copy_addrs(__u8 *to_local, __u8 *to_remote,
				       const struct sock_common *skc)
{
	__u32 *local = (__u32 *)to_local, *remote = (__u32 *)to_remote;

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
}

/* The inode of a socket that a file belongs to; 0 for one of the kernel's own. */
static __always_inline __u32 file_inode(const struct socket *socket)
{
	if (!socket)
		return 0;
	if (socket->file)
		return socket->file->f_inode->i_ino;
	return 0;
}

/*
 * Whether the last file of a socket was closed, as close() does before it acts on the
 * socket (__fput, fs/file_table.c).
 */
static __always_inline bool file_released(const struct socket *socket)
{
	struct file *file;

	if (!socket)
		return false;
	file = socket->file;
	if (!file)
		return false;
	if (bpf_core_field_exists(file->f_ref))
		return file->f_ref.refcnt.counter < 0;
	return !file->f_count.counter;
}

/*
 * Whether close() makes a transition of a socket in a state (new_state, net/ipv4/tcp.c),
 * whose record says that it was released.
 */
static __always_inline bool close_moves(__u8 state)
{
	switch (state) {
	case TCP_ESTABLISHED:
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
	case TCP_CLOSE_WAIT:
	case TCP_LISTEN:
		return true;
	}
	return false;
}

#endif
