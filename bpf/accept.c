// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Which process accepted a connection. Process context, one record for each accept.
 * fexit where the kernel allows trampolines, kretprobe elsewhere.
 */
#include "stream.h"
#include "copy.h"
#include "owner.h"
#include "twice.h"
#include "keep.h"

/*
 * Sends the record of accepted_copy. Not inlined: the stack of the copy would be in use
 * while send_names runs, and all stacks in use share 512 bytes.
 */
static __noinline int send_accept(const void *skc, __u32 inode, bool known)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct owner_event *o;
	struct copy c;

	if (!copy_sock(&c, skc) || keep_accept(common_of(&c)->skc_cookie.counter, known))
		return 0;
	o = reserve(sizeof(*o), TELLS_OTHER);
	if (!o)
		return 0;
	copy_event(&o->event, EVENT_ACCEPT, skc, &c);
	fill_ids(&o->event.head, known);
	/* The user of the new file, which the socket takes over (sock_graft). */
	o->event.uid = BPF_CORE_READ(task, cred, fsuid.val);
	o->event.inode = inode;
	fill_caller(o);
	submit(o);
	return 0;
}

/* Sends who accepted a socket that is no BTF pointer. */
static __always_inline int accepted_copy(const struct sock_common *skc, __u32 inode)
{
	if (!skc || !traced(IPPROTO_TCP, BPF_CORE_READ(skc, skc_family),
			    BPF_CORE_READ(skc, skc_net.net, ns.inum)))
		return 0;
	if (is_kernel_thread())
		return 0;
	return send_accept(skc, inode, send_process(true));
}

/*
 * accept() of an MPTCP listener returns an MPTCP socket. The TCP sockets are its
 * subflows; the connection began as the first one. Its pointer lies beyond what a
 * direct load of a struct sock may read.
 */
static __always_inline int accepted_mptcp(const struct mptcp_sock *msk, __u32 inode)
{
	if (!can_probe || !bpf_core_type_exists(struct mptcp_sock))
		return 0;
	return accepted_copy((const struct sock_common *)BPF_CORE_READ(msk, first), inode);
}

static __always_inline int accepted(struct socket *socket)
{
	struct sock *sk = socket->sk;
	__u64 cookie;
	__u32 netns;
	bool known;

	if (!sk)
		return 0;
	if (sk->sk_protocol == IPPROTO_MPTCP)
		return accepted_mptcp((const struct mptcp_sock *)sk, file_inode(socket));
	if (!traced_sock(sk, &netns) || is_kernel_thread())
		return 0;
	cookie = cookie_of(sk);
	if (handled_already(TWICE_ACCEPT, sk, cookie))
		return 0;
	known = send_process(true);
	if (keep_accept(cookie, known))
		return 0;
	return send_owner(sk, EVENT_ACCEPT, 0, 0, socket, netns, cookie, known);
}

/* 6.10 on: the last step of every accept of an Internet stream socket. */
TWICE("fexit/__inet_accept", accept_fexit, accepted(new_socket), struct socket *socket,
      struct socket *new_socket)

/* Before 6.10; new_socket->sk stays unset when accept fails. */
TWICE("fexit/inet_accept", accept_fexit_old, accepted(new_socket), struct socket *socket,
      struct socket *new_socket)

SEC("kretprobe/inet_csk_accept")
int accept_kretprobe(struct pt_regs *ctx)
{
	return accepted_copy((const struct sock_common *)kprobe_ret(ctx), 0);
}
