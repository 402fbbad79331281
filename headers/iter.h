/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The rows that the iterators of package snapshot write, one after the other.
 */
#ifndef NETTRACE_ITER_H
#define NETTRACE_ITER_H

#include "kernel.h"

/* A socket of /proc/net/tcp or tcp6, without its timers. */
struct tcp_row {
	__u8 local_addr[16]; /* network byte order; IPv4 in the first four bytes */
	__u8 remote_addr[16];
	__u16 local_port; /* host byte order */
	__u16 remote_port;
	__u8 state;
	__u8 family;
	__u16 pad;
	__u32 uid;
	__u32 recv_q;
	__u32 send_q;
	__u32 pad2;
	__u64 inode;
};

/* A process holds an open file of a socket. */
struct owner_row {
	__u64 inode;
	__u32 pid;
	__u32 pad;
};

#endif
