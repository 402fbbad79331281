/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where connections are kept until they end, and how they are found. A hash map of the
 * kernel would do, but a look into it costs as much as all else that a transition needs:
 * a call, and a list whose elements lie anywhere. These are two arrays, which a program
 * reads by itself. One has the connections. The other has the cookie of the connection in
 * each place; it is divided into sets, and a cookie may be in any place of one of them.
 * The kernel counts cookies up, so that neighbours in time are neighbours in memory.
 *
 * A place is free, claimed, or has a connection. It goes from one to the next by
 * compare-and-swap alone, by programs and by the reader (tracer/lives.go):
 *   - free (0) to claimed: whoever has done that writes the place, and nobody else.
 *   - claimed to a cookie: the place is that connection's from now on.
 *   - a cookie to free.
 */
#ifndef NETTRACE_LIVES_H
#define NETTRACE_LIVES_H

#include "stream.h"

/* The places of a set. */
#define LIVES_WAYS 16

/* No cookie: the kernel counts them up from 1. */
#define LIFE_CLAIMED (~0ULL)

/* Places are numbered set by set: all first ones, all second ones. */
struct lives_set {
	__u64 cookies[LIVES_WAYS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536 / LIVES_WAYS);
	__type(key, __u32);
	__type(value, struct lives_set);
} lives_sets SEC(".maps");

/* The loader says how many there are: LIVES_WAYS for each set. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct life);
} lives SEC(".maps");

const volatile __u32 lives_set_count = 1; /* a power of two */

static __always_inline __u32 set_of(__u64 cookie)
{
	return cookie & (lives_set_count - 1);
}

/*
 * Puts a value in the place of another one, in one step; returns what was there. Programs have
 * such an instruction since Linux 5.12, on arm64 since 5.18: before, nothing is kept.
 */
static __always_inline __u64 swap(__u64 *at, __u64 old, __u64 new)
{
	return __sync_val_compare_and_swap(at, old, new);
}

/*
 * Returns the place of a connection, or -1. A global function, as are the next two: the
 * verifier goes through it once, and does not tell places apart afterwards.
 */
__noinline int place_of(__u64 cookie)
{
	__u32 set = set_of(cookie);
	struct lives_set *s = bpf_map_lookup_elem(&lives_sets, &set);
	int i;

	if (!s)
		return -1;
#pragma unroll
	for (i = 0; i < LIVES_WAYS; i++)
		if (s->cookies[i] == cookie)
			return i * lives_set_count + set;
	return -1;
}

/* Claims a place for a connection that has none, and returns it; -1: there is no room. */
__noinline int claim_place(__u64 cookie)
{
	__u32 set = set_of(cookie);
	struct lives_set *s = bpf_map_lookup_elem(&lives_sets, &set);
	int i;

	if (!s)
		return -1;
#pragma unroll
	for (i = 0; i < LIVES_WAYS; i++)
		if (!s->cookies[i] && !swap(&s->cookies[i], 0, LIFE_CLAIMED))
			return i * lives_set_count + set;
	return -1;
}

/* Has a place go from one value to another, if it has that; returns 0. */
__noinline int change_place(__u32 place, __u64 from, __u64 to)
{
	__u32 set = place & (lives_set_count - 1), way = place / lives_set_count;
	struct lives_set *s = bpf_map_lookup_elem(&lives_sets, &set);

	if (s)
		swap(&s->cookies[way & (LIVES_WAYS - 1)], from, to);
	return 0;
}

/* Returns what is kept of a connection, or NULL. */
static __always_inline struct life *find_life(__u64 cookie)
{
	__u32 place = place_of(cookie); /* -1 is past the end */

	return bpf_map_lookup_elem(&lives, &place);
}

/* Begins to keep a connection of which nothing is kept; NULL: there is no room. */
static __always_inline struct life *new_life(__u64 cookie)
{
	__u32 place = claim_place(cookie);
	struct life *l = bpf_map_lookup_elem(&lives, &place);

	if (!l)
		return NULL;
	__builtin_memset(l, 0, sizeof(*l));
	change_place(place, LIFE_CLAIMED, cookie);
	return l;
}

static __always_inline void forget_life(__u64 cookie)
{
	__u32 place = place_of(cookie);

	if (place != (__u32)-1)
		change_place(place, cookie, 0);
}

#endif
