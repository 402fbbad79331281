/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What crosses the ring buffer. Fixed widths, no implicit padding; bpf2go makes
 * the Go side from these, and a test of package tracer holds the offsets.
 */
#ifndef NETTRACE_EVENT_H
#define NETTRACE_EVENT_H

#include "kernel.h"

enum event_kind {
	EVENT_STATE = 1,    /* a transition of a full socket: event, owner_event or close_event */
	EVENT_MISSED,	    /* a transition that only sock_ops saw: event */
	EVENT_PORT,	    /* the local port became known (connect, listen without bind): event */
	EVENT_ACCEPT,	    /* accept() returned the socket: owner_event */
	EVENT_RELEASE,	    /* the last file of the socket was closed, and no transition follows
			       in that call: event_head */
	EVENT_MINI_BORN,    /* a mini socket's timer was started: request_event; timewait: event */
	EVENT_MINI_GONE,    /* the timer was cancelled or fired, in old_state: event_head, tid is
			       the CPU + 1 */
	EVENT_MINI_STATE,   /* a timewait socket went FIN_WAIT2 -> TIME_WAIT: event_head */
	EVENT_FILE,	    /* a process holds an open file of the socket: file_event */
	EVENT_PROCESS,	    /* a process is new or changed: process_event, before what it caused */
	EVENT_EXE,	    /* the executable of a new program: exe_event, after process_event */
	EVENT_RESET_SENT,   /* a RST was sent, in old_state (TIME_WAIT: timewait): event_head */
	EVENT_RESET_CAME,   /* a RST ended a timewait socket: event_head */
	EVENT_MINI_EXPIRED, /* a timewait socket's timer fired in FIN_WAIT2: event_head */
	EVENT_CONNECT_FAILED, /* connect() failed at once, or (new_state SYN_SENT) has an ICMP
				 error waiting: owner_event, err is the error */
	EVENT_LIFE,    /* a connection ended whose transitions were kept (bpf/keep.h): life_event */
	EVENT_DROPPED, /* a request ended that never became a connection: dropped_event */

	/* Of an object of their own, bpf/sockets.bpf.c. */
	EVENT_SOCKET = 32, /* a call changed a UDP or raw socket: socket_event */
	EVENT_UNIX,	   /* the same of a Unix socket: unix_event */
};

/* The common start of every record but process_event, which shares time and kind. */
struct event_head {
	__u64 time; /* bpf_ktime_get_ns: CLOCK_MONOTONIC */
	__u8 kind;
	__u8 old_state;
	__u8 new_state;
	__u8 family;  /* AF_INET or AF_INET6 */
	__u32 netns;  /* inode of the network namespace */
	__u64 sk;     /* address of the struct sock, request_sock or inet_timewait_sock */
	__u64 cookie; /* socket cookie; 0: it has none yet, or it is not known here */
	__u32 task;   /* thread-group id in the first pid namespace; 0: no process made the call */
	__u32 tid;    /* of the thread, in the pid namespace that is reported; 0: it has none */
};

#define UID_UNKNOWN (~0U) /* INVALID_UID, include/linux/uidgid.h: nobody has it */

struct event {
	struct event_head head;
	__u32 uid; /* UID_UNKNOWN: not known here */
	__u32 inode;
	__u16 local_port; /* host byte order */
	__u16 remote_port;
	__u16 err;     /* sk_err */
	__u16 cpu;     /* where the record was written, + 1; 0: not said */
	__u32 device;  /* index of the interface that it is bound to; 0: none */
	__u8 released; /* of a transition: the last file of the socket is being closed */
	__u8 pad[3];
	__u8 local_addr[16]; /* network byte order; IPv4 in the first four bytes */
	__u8 remote_addr[16];
};

/* A call of a process that makes it the owner: connect, listen, accept. */
struct owner_event {
	struct event event;
	__u64 cgroup; /* cgroup v2 id of the caller */
	__u8 thread[16];
};

/* The birth of a request socket. */
struct request_event {
	struct event event;
	__u64 listener; /* cookie, or address, of the listener that can accept it */
};

/* A process holds an open file of the socket. */
struct file_event {
	struct event_head head;
	__u64 inode;
	__u64 start; /* start_boottime of the process */
	__u32 pid;   /* in the pid namespace that is reported; 0: it has none */
	__u32 mptcp; /* the file's socket is an MPTCP one: its subflows have its inode */
	__u8 comm[16];
	__u64 cgroup; /* of the socket; 0: not known */
	__u32 uid;    /* of the socket */
	__u32 pad;
};

enum close_flag {
	CLOSE_RCV_SHUTDOWN = 1, /* sk_shutdown: close() sets both before any transition */
	CLOSE_SEND_SHUTDOWN = 2,
	CLOSE_GOT_FIN = 4,
	CLOSE_ALL_SENT = 8,   /* all that was written was sent, the FIN too */
	CLOSE_ALL_ACKED = 16, /* and acknowledged */
	CLOSE_OWNED = 32,     /* a task owned the socket: it was no softirq of its own */
};

/* -> CLOSE: what says why, and the counters, read before the kernel wipes them. */
struct close_event {
	struct event event;
	__u64 bytes_sent;     /* each transmission counts */
	__u64 bytes_received; /* without the FIN */
	__u32 segs_out;
	__u32 segs_in;
	__u32 retrans;
	__u32 rtt_us;
	__u32 min_rtt_us;  /* ~0: never measured */
	__u16 err_soft;	   /* sk_err_soft */
	__u8 socket_state; /* of struct socket; 0: it has none */
	__u8 flags;	   /* enum close_flag */
	__u64 bytes_retrans;
	__u64 bytes_out; /* bytes sent once or more, and the SYN of an active open */
};

/* What a call did to a UDP, raw or Unix socket. */
enum socket_change {
	SOCKET_SEEN = 0, /* nothing that is known: the row as it is now */
	SOCKET_OPEN,
	SOCKET_BIND, /* by the caller, or with SOCKET_AUTO by the kernel */
	SOCKET_CONNECT,
	SOCKET_DISCONNECT, /* AF_UNSPEC, or an abort */
	SOCKET_LISTEN,
	SOCKET_ACCEPT,
	SOCKET_LOST_PEER, /* Unix: the peer of a datagram socket is gone */
	SOCKET_FAMILY,	  /* IPV6_ADDRFORM: it is an IPv4 socket from now on */
	SOCKET_CLOSE,	  /* the row as it was last */
};

enum socket_flag {
	SOCKET_SHOWN = 1,   /* the socket has a row in its file of /proc */
	SOCKET_AUTO = 2,    /* the kernel chose the port, or the name */
	SOCKET_EXITING = 4, /* the caller exits: PF_EXITING */
	SOCKET_KERNEL = 8,  /* it is the kernel's own, or a kernel thread made the call */
	SOCKET_INTENT = 16, /* what a hook before the call was told: the row is not there yet */
	SOCKET_MORE = 32,   /* the change has another record, of its other end, after this one */
	SOCKET_OTHER = 64,  /* it is that one: the call was one on the other end */
	SOCKET_ROW = 128,   /* no call: a row of a pass */
};

/*
 * The whole row of a UDP or raw socket after a change, read after its place in the
 * ring was reserved: the last record of a socket is its row. head.new_state is
 * sk_state, head.old_state 0.
 */
struct socket_event {
	struct event event;
	__u64 cgroup; /* cgroup v2 id of the caller; 0: not known */
	__u8 thread[16];
	__u8 change;   /* enum socket_change */
	__u8 flags;    /* enum socket_flag */
	__u8 protocol; /* IPPROTO_UDP, _UDPLITE; of a raw socket any; Unix: 0 */
	__u8 type;     /* SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, SOCK_SEQPACKET */
	__u32 pad;
};

#define UNIX_NAME_MAX 108 /* sizeof(sun_path) */

enum unix_flag {
	UNIX_HAS_SOCKET = 1, /* of struct socket: without one, it waits for accept() */
	UNIX_HAS_NAME = 2,   /* bound, be it to the empty name */
};

/* The same of a Unix socket. The addresses of its event are 0. */
struct unix_event {
	struct socket_event socket;
	__u64 peer;	  /* cookie, or address, of the peer; 0: it has none */
	__u64 listener;	  /* the same of the listener; 0: none, or not known */
	__u32 peer_inode; /* 0: not accepted yet, or not known */
	__u32 peer_pid;	  /* sk_peer_pid, in the pid namespace that is reported; 0: none there */
	__u32 backlog;	  /* sk_max_ack_backlog of a listener */
	__u8 flags;	  /* enum unix_flag */
	__u8 pad;
	__u16 name_len; /* without the NUL that ends the name of a file */
	__u8 name[UNIX_NAME_MAX];
	__u32 pad2;
};

/* A UDP or raw socket to look at. */
struct socket_ref {
	__u64 sk;
	__u64 cookie;
};

/* A call of a process that makes it the owner, as it is kept until the connection ends. */
struct caller {
	__u64 cgroup;
	__u64 known; /* time of the process_event that says what the process is */
	__u32 task;
	__u32 tid;
	__u8 thread[16];
};

enum life_flag {
	LIFE_INCOMING = 1,
	LIFE_REQUEST = 2,  /* start and listener are those of its request socket */
	LIFE_OWNED = 4,	   /* by is the process that called connect */
	LIFE_ACCEPTED = 8, /* by is the process that called accept; task 0: not known */
	LIFE_RESET_SENT = 16,
	LIFE_TOLD = 32, /* its record was sent; a timewait socket in FIN_WAIT2 is left */
};

#define LIFE_STEPS 12 /* as many states as a history has */

/*
 * What is kept of a connection until its full socket ends. Each part is a cache line: what a
 * transition writes, what else its record has, and where it is.
 */
struct life {
	__u64 established; /* 0: never */
	__u64 moved;	   /* the last transition before a call used an incoming connection */
	__u64 used_at;	   /* when one did first; 0: none */
	__u64 used_known;  /* as caller.known, of used */
	__u32 used; /* process whose call led to the last transition that one made; 0: none */
	__u32 used_tid;
	__u16 local_port; /* where it is known by now */
	__u16 icmp;	  /* an ICMP error that came while connect() held the socket */
	__u8 flags;	  /* enum life_flag */
	__u8 substate;	  /* of the timewait socket */
	__u8 pad;
	__u8 steps;
	__u8 walk[LIFE_STEPS]; /* transitions: the former state in the upper half */
	__u32 pad_walk;

	__u64 start;	/* the first event */
	__u64 listener; /* as in request_event */
	__u64 timewait; /* address of its timewait socket; 0: none */
	struct caller by;

	__u8 family;
	__u8 pad_family;
	__u16 remote_port;
	__u32 netns;
	__u32 device;
	__u32 pad_device;
	__u8 local_addr[16]; /* as in event */
	__u8 remote_addr[16];
	__u64 pad_addr[2];
};

/* The record of it ends before where it is: the event has that. */
struct life_event {
	struct close_event close;
	struct life life;
};

struct dropped_event {
	struct request_event request; /* time: when it was born */
	__u64 gone;
};

/* A timewait socket to look at. */
struct mini_ref {
	__u64 sk;
	__u64 cookie;
};

#define CMDLINE_MAX 256

struct process_event {
	__u64 time;
	__u8 kind;
	__u8 exec;  /* a new program: its executable comes next */
	__u8 title; /* the command line is one text, up to the first NUL */
	__u8 pad;
	__u32 task; /* thread-group id in the first pid namespace */
	__u32 pid;  /* in the pid namespace that is reported; 0: it has none */
	__u32 cmdline_len;
	__u8 comm[16]; /* of the thread-group leader */
	__u8 cmdline[CMDLINE_MAX];
};

#define EXE_MAX 256

struct exe_event {
	__u64 time;
	__u8 kind;
	__u8 deleted;
	__u16 start; /* of the path, which ends at EXE_MAX; EXE_MAX: not known */
	__u32 task;
	__u8 path[2 * EXE_MAX];
};

/* What whoami writes of the process that reads it. */
struct whoami_row {
	__u32 task;
	__u32 level; /* of its pid namespace; 0: the first one */
	__u32 inode; /* of that */
	__u32 pad;
	__u64 start; /* start_boottime */
};

#endif
