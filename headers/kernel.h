/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The few kernel types that the programs use, relocated at load time (CO-RE)
 * to the layout of the running kernel. Only the fields that are read stand
 * here; members of anonymous unions and structs are found by name.
 */
#ifndef NETTRACE_KERNEL_H
#define NETTRACE_KERNEL_H

#include "uapi.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct {
	__u32 val;
} kuid_t;

struct proto {
	char name[32];
};

struct hlist_node {
	struct hlist_node **pprev;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	int skc_bound_dev_if;
	struct proto *skc_prot;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	struct hlist_node skc_node; /* in the table that /proc shows; pprev is NULL outside of it */
	atomic64_t skc_cookie;
	struct sock *skc_listener; /* of a request socket: rsk_listener */
	unsigned long skc_flags;   /* sk_flags */
};

typedef struct {
	int owned;
} socket_lock_t;

struct super_block {
	unsigned long s_magic;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct qstr {
	u32 len;
	const unsigned char *name;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

typedef struct {
	atomic64_t refcnt; /* negative: none is left */
} file_ref_t;

struct file {
	struct path f_path;
	struct inode *f_inode;
	atomic64_t f_count; /* before 6.13 */
	file_ref_t f_ref;   /* since */
};

/* include/net/sock.h: enum sock_flags */
#define SOCK_DEAD 0
#define SOCK_DONE 1

/* include/uapi/linux/net.h */
typedef enum {
	SS_FREE,
	SS_UNCONNECTED,
	SS_CONNECTING,
	SS_CONNECTED,
	SS_DISCONNECTING,
} socket_state;

struct socket {
	socket_state state;
	struct file *file;
	struct sock *sk;
};

/* include/net/sock.h: what a struct socket lies in. */
struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct sock_cgroup_data {
	struct cgroup *cgroup; /* since 5.15 */
};

struct pid;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	struct socket *sk_socket;
	kuid_t sk_uid;
	int sk_err;
	int sk_err_soft;
	u8 sk_shutdown;
	u16 sk_protocol;
	u16 sk_type;
	u32 sk_max_ack_backlog;
	struct pid *sk_peer_pid;
	struct sock_cgroup_data sk_cgrp_data;
	unsigned long sk_ino; /* since 6.18 */
};

struct sockaddr_un {
	char sun_path[108];
};

struct unix_address {
	int len;
	struct sockaddr_un name[1]; /* a flexible array */
};

struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct sock *peer;
	struct sock
	    *listener; /* of one that waits for accept(), since 6.10 and where it was put back */
};

struct inet_sock {
	__be16 inet_sport;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct minmax_sample {
	u32 v;
};

struct minmax {
	struct minmax_sample s[3];
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u64 bytes_received;
	u64 bytes_sent;
	u64 bytes_retrans;
	u64 bytes_acked;
	u32 segs_in;
	u32 segs_out;
	u8 fastopen_connect : 1; /* TCP_FASTOPEN_CONNECT */
	u32 total_retrans;
	u32 srtt_us;
	struct minmax rtt_min;
	u32 write_seq;
	u32 snd_nxt;
	u32 snd_una;
};

struct timer_list {
	void (*function)(struct timer_list *);
};

struct inet_timewait_sock {
	struct sock_common __tw_common;
	volatile unsigned char tw_substate;
	struct timer_list tw_timer;
};

struct request_sock {
	struct sock_common __req_common;
	struct timer_list rsk_timer;
};

struct tcp_request_sock {
	u64 snt_synack; /* when the first SYN-ACK was sent: µs of CLOCK_MONOTONIC; 0: not yet */
};

struct mptcp_sock {
	struct sock *first; /* the first subflow */
};

struct pid_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct pid_namespace *pid_ns_for_children;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1]; /* a flexible array since 6.5 */
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long env_start;
	unsigned long env_end;
	struct file *exe_file;
};

struct cred {
	kuid_t fsuid;
};

struct task_struct {
	unsigned int flags;
	const struct cred *cred;
	struct mm_struct *mm;
	struct pid *thread_pid;
	struct nsproxy *nsproxy;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	u64 start_time;
	u64 start_boottime;
	u64 self_exec_id;
	char comm[16];
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};

struct bpf_iter__unix {
	struct bpf_iter_meta *meta;
	struct unix_sock *unix_sk;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di;
	unsigned long si;
	unsigned long dx;
	unsigned long ax;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};
struct pt_regs {
	struct user_pt_regs user_regs;
};
#endif

#pragma clang attribute pop

#endif
