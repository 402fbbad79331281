/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where connections are kept until they end, and how they are found. A hash map of the
 * kernel would do, but a look into it costs as much as all else that a transition needs:
 * a call, and a list whose elements lie anywhere. These are two arrays, which a program
 * reads by itself. One has the connections. The other has the cookie of the connection in
 * each place: a cookie says where its connection lies, or it is in one of the next
 * LIVES_NEAR - 1 places. The kernel counts cookies up, so that neighbours in time are
 * neighbours in memory.
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

#define LIVES_MOST 65536
#define LIVES_NEAR 16
#define LIVES_PLACES (LIVES_MOST + LIVES_NEAR - 1)

/* No cookie: the kernel counts them up from 1. */
#define LIFE_CLAIMED (~0ULL)

struct lives_index {
	__u64 cookies[LIVES_PLACES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lives_index);
} lives_index SEC(".maps");

/* Nobody maps it: the flag has it begin at a page, and so each connection at a cache line. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LIVES_PLACES);
	__type(key, __u32);
	__type(value, struct life);
} lives SEC(".maps");

/* The bits of a cookie that say where its connection lies; fewer than these for tests. */
const volatile __u32 lives_mask = LIVES_MOST - 1;

static __always_inline struct lives_index *index_of_lives(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lives_index, &zero);
}

/*
 * Puts a value in the place of another one, in one step; returns what was there. Programs have
 * such an instruction since Linux 5.12, on arm64 since 5.18: before, nothing is kept.
 */
static __always_inline __u64 swap(__u64 *at, __u64 old, __u64 new)
{
	return __sync_val_compare_and_swap(at, old, new);
}

/* Returns where a connection lies, if nothing else does. */
static __always_inline __u32 first_place(__u64 cookie)
{
	return cookie & lives_mask & (LIVES_MOST - 1);
}

/*
 * Returns the place of a connection, or -1. A global function, as are the next two: the
 * verifier goes through it once, and does not tell places apart afterwards.
 */
__noinline int place_of(__u64 cookie)
{
	__u32 at = first_place(cookie);
	struct lives_index *x = index_of_lives();
	int i;

	if (!x)
		return -1;
#pragma unroll
	for (i = 0; i < LIVES_NEAR; i++)
		if (x->cookies[at + i] == cookie)
			return at + i;
	return -1;
}

/* Claims a place for a connection that has none, and returns it; -1: there is no room. */
__noinline int claim_place(__u64 cookie)
{
	__u32 at = first_place(cookie);
	struct lives_index *x = index_of_lives();
	int i;

	if (!x)
		return -1;
#pragma unroll
	for (i = 0; i < LIVES_NEAR; i++)
		if (!x->cookies[at + i] && !swap(&x->cookies[at + i], 0, LIFE_CLAIMED))
			return at + i;
	return -1;
}

/* Has a place go from one value to another, if it has that; returns 0. */
__noinline int change_place(__u32 place, __u64 from, __u64 to)
{
	struct lives_index *x = index_of_lives();

	if (x && place < LIVES_PLACES)
		swap(&x->cookies[place], from, to);
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
	change_place(place_of(cookie), cookie, 0);
}

#endif
