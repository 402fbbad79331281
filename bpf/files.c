// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Which processes hold which TCP sockets. The sockets themselves are read from
 * sock_diag: "Where the rows come from" in ARCHITECTURE.md says why there is no iterator
 * over them.
 */
#include "files.h"

/*
 * Sends a record for each socket that a process has open.
 * The file of an MPTCP connection is that of its MPTCP socket, which has the inode of
 * its subflows. Its cookie does not tell it apart: an accepted one is a clone of its
 * listener, with the same cookie.
 */
SEC("iter/task_file")
int files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk = file_sock(task, file);
	__u32 netns;
	bool mptcp;

	if (!sk)
		return 0;
	mptcp = sk->sk_protocol == IPPROTO_MPTCP;
	if (!traced(mptcp ? IPPROTO_TCP : sk->sk_protocol, sk->__sk_common.skc_family,
		    netns = netns_of(&sk->__sk_common)) ||
	    (!mptcp && !wanted_sock(&sk->__sk_common)))
		return 0;
	return send_file(task, file, sk, netns, mptcp ? 0 : cookie_of(sk), mptcp);
}
