/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What crosses the ring buffer. Fixed widths, no implicit padding; bpf2go makes
 * the Go side from these, and a test of package tracer holds the offsets.
 */
#ifndef NETTRACE_EVENT_H
#define NETTRACE_EVENT_H

#include "kernel.h"

enum event_kind {
	EVENT_STATE = 1,  /* a transition of a full socket: event, owner_event or close_event */
	EVENT_MISSED,	  /* a transition that only sock_ops saw: event */
	EVENT_PORT,	  /* the local port became known (connect, listen without bind): event */
	EVENT_ACCEPT,	  /* accept() returned the socket: owner_event */
	EVENT_RELEASE,	  /* the last file of the socket was closed: event_head */
	EVENT_MINI_BORN,  /* a request or timewait socket's timer was started: event */
	EVENT_MINI_GONE,  /* the timer was cancelled or fired: event_head */
	EVENT_MINI_STATE, /* a timewait socket went FIN_WAIT2 -> TIME_WAIT: event_head */
	EVENT_ROW,	  /* a socket as an iterator pass found it: row_event */
	EVENT_ROWS_END,	  /* the pass is complete: event_head */
	EVENT_FILE,	  /* a process holds an open file of the socket: event_head */
	EVENT_PROCESS,	  /* a process not seen before: process_event, before the event it caused */
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
	__u64 cookie; /* socket cookie; 0: not known here */
	__u32 pid;    /* thread-group id; 0: not in the context of a process */
	__u32 tid;
};

struct event {
	struct event_head head;
	__u32 uid;
	__u32 inode;
	__u16 local_port; /* host byte order */
	__u16 remote_port;
	__u16 err; /* sk_err */
	__u16 pad;
	__u8 local_addr[16]; /* network byte order; IPv4 in the first four bytes */
	__u8 remote_addr[16];
};

/* A call of a process that makes it the owner: connect, listen, accept. */
struct owner_event {
	struct event event;
	__u64 cgroup; /* cgroup v2 id of the caller */
	__u8 thread[16];
};

/* -> CLOSE: the counters of the connection, read before the kernel wipes them. */
struct close_event {
	struct event event;
	__u64 bytes_sent;
	__u64 bytes_received;
	__u32 segs_out;
	__u32 segs_in;
	__u32 retrans;
	__u32 rtt_us;
	__u32 min_rtt_us; /* ~0: never measured */
	__u32 pad;
};

struct row_event {
	struct event event;
	__u64 cgroup; /* cgroup v2 id of the socket */
	__u32 recv_q;
	__u32 send_q;
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
	__u8 pad[3];
	__u32 pid;
	__u32 uid;
	__u32 cmdline_len;
	__u8 comm[16]; /* of the thread-group leader */
	__u8 cmdline[CMDLINE_MAX];
};

#endif
