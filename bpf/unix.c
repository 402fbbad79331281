// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The life of Unix sockets, by trampolines. Process context: every call but the last
 * close, which may be made by whoever drops the last reference to the file, and by the
 * kernel's collector of sockets in flight. One record for each socket that a call has
 * changed, after the call; before it where the socket is gone then.
 */
#include "unix.h"
#include "twice.h"

static __always_inline int unix_call(__u32 hook, struct sock *sk, __u8 change, __u8 flags)
{
	__u64 cookie;
	__u32 netns;

	if (!sk || !unix_in_scope(sk, &netns, true))
		return 0;
	cookie = cookie_of(sk);
	if (handled_already(hook, sk, cookie))
		return 0;
	return unix_send(sk, unix_call_of(change, flags, unix_send_caller()), netns, cookie);
}

/* socket(), half of socketpair(), and of connect() the socket that accept() will return. */
static __always_inline int unix_created(struct sock *sk, int kern)
{
	if (unix_is_error(sk))
		return 0;
	return unix_call(TWICE_UNIX_CREATE, sk, SOCKET_OPEN, kern ? SOCKET_KERNEL : 0);
}

TWICE("fexit/unix_create1", unix_create_fexit, unix_created(sk, kern), struct net *net,
      struct socket *socket, int kern, int type, struct sock *sk)

/* Before 5.15. */
TWICE("fexit/unix_create1", unix_create_fexit_old, unix_created(sk, kern), struct net *net,
      struct socket *socket, int kern, struct sock *sk)

TWICE("fentry/unix_release_sock", unix_release_fentry,
      unix_call(TWICE_UNIX_RELEASE, sk, SOCKET_CLOSE, 0), struct sock *sk)

static __always_inline int unix_bound(struct socket *socket, int len, int ret)
{
	if (ret)
		return 0;
	return unix_call(TWICE_UNIX_BIND, socket->sk, SOCKET_BIND,
			 len == UNIX_FAMILY_SIZE ? SOCKET_AUTO : 0);
}

TWICE("fexit/unix_bind", unix_bind_fexit, unix_bound(socket, len, ret), struct socket *socket,
      void *addr, int len, int ret)

/* The kernel chooses a name: connect() and send() with SO_PASSCRED, bind() without a name. */
static __always_inline int unix_autobound(struct sock *sk, int ret)
{
	return ret ? 0 : unix_call(TWICE_UNIX_AUTOBIND, sk, SOCKET_BIND, SOCKET_AUTO);
}

TWICE("fexit/unix_autobind", unix_autobind_fexit, unix_autobound(sk, ret), struct sock *sk, int ret)

/* Before 5.17. The verifier refuses the one above there, as a struct socket is no sock. */
TWICE("fexit/unix_autobind", unix_autobind_fexit_old, unix_autobound(socket->sk, ret),
      struct socket *socket, int ret)

static __always_inline int unix_listens(struct socket *socket, int ret)
{
	return ret ? 0 : unix_call(TWICE_UNIX_LISTEN, socket->sk, SOCKET_LISTEN, 0);
}

TWICE("fexit/unix_listen", unix_listen_fexit, unix_listens(socket, ret), struct socket *socket,
      int backlog, int ret)

/* accept() has set the socket of the new file where it succeeded. */
TWICE("fexit/unix_accept", unix_accept_fexit,
      unix_call(TWICE_UNIX_ACCEPT, new_socket->sk, SOCKET_ACCEPT, 0), struct socket *socket,
      struct socket *new_socket)

/*
 * Sends both ends after a call that has changed both. The peer is held by the socket, which
 * the caller has open; of a datagram socket another thread may connect it elsewhere
 * meanwhile, so the peer's cookie is only looked at, which is a load that may fail.
 */
static __always_inline int unix_ends(__u32 hook, struct sock *sk)
{
	struct sock *peer;
	bool process;
	__u64 cookie;
	__u32 netns;

	if (!sk || !unix_in_scope(sk, &netns, true))
		return 0;
	cookie = cookie_of(sk);
	if (handled_already(hook, sk, cookie))
		return 0;
	process = unix_send_caller();
	unix_send(sk, unix_call_of(SOCKET_CONNECT, SOCKET_MORE, process), netns, cookie);
	peer = unix_peer_of(sk, unix_direct);
	if (!peer)
		return 0;
	return unix_send(peer, unix_call_of(SOCKET_CONNECT, SOCKET_OTHER, process), netns,
			 unix_field(unix_direct, peer, __sk_common.skc_cookie.counter));
}

/* The peer is the one that accept() will return. */
static __always_inline int unix_connected(struct socket *socket, int ret)
{
	return ret ? 0 : unix_ends(TWICE_UNIX_CONNECT, socket->sk);
}

TWICE("fexit/unix_stream_connect", unix_connect_fexit, unix_connected(socket, ret),
      struct socket *socket, void *addr, int len, int flags, int ret)

/* connect() to no address disconnects. */
static __always_inline int unix_dgram_connected(struct socket *socket, int ret)
{
	return ret ? 0 : unix_ends(TWICE_UNIX_DGRAM, socket->sk);
}

TWICE("fexit/unix_dgram_connect", unix_dgram_connect_fexit, unix_dgram_connected(socket, ret),
      struct socket *socket, void *addr, int len, int flags, int ret)

static __always_inline int unix_paired(struct socket *a, int ret)
{
	return ret ? 0 : unix_ends(TWICE_UNIX_PAIR, a->sk);
}

TWICE("fexit/unix_socketpair", unix_pair_fexit, unix_paired(a, ret), struct socket *a,
      struct socket *b, int ret)

/*
 * A datagram socket has left its peer: it connected elsewhere, or the peer is gone and a
 * send() found out. In the first case the former peer is told too. The kernel will have
 * closed it next, if it has no peer of its own (unix_dgram_connect, net/unix/af_unix.c).
 */
static __always_inline int unix_left(struct sock *sk, struct sock *old)
{
	bool process, dead;
	__u64 cookie;
	__u32 netns;

	if (!unix_in_scope(sk, &netns, true))
		return 0;
	cookie = cookie_of(sk);
	if (handled_already(TWICE_UNIX_LEFT, sk, cookie))
		return 0;
	process = unix_send_caller();
	dead = old->__sk_common.skc_flags & 1UL << SOCK_DEAD;
	if (dead)
		return unix_send(sk, unix_call_of(SOCKET_LOST_PEER, 0, process), netns, cookie);
	return unix_send(old, unix_call_of(SOCKET_LOST_PEER, SOCKET_OTHER, process), netns,
			 cookie_of(old));
}

TWICE("fentry/unix_dgram_disconnected", unix_left_fentry, unix_left(sk, other), struct sock *sk,
      struct sock *other)
