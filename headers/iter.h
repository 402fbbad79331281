/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The rows that the iterator of package snapshot writes, one after the other.
 */
#ifndef NETTRACE_ITER_H
#define NETTRACE_ITER_H

#include "kernel.h"

/* A process holds an open file of a socket. */
struct owner_row {
	__u64 inode;
	__u32 pid;
	__u32 pad;
};

#endif
