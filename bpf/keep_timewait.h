/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Timewait sockets where closes alone are told: the record of a connection says which one it
 * left. The close of one that is left in FIN_WAIT2 is told when it leaves that.
 */
#ifndef NETTRACE_KEEP_TIMEWAIT_H
#define NETTRACE_KEEP_TIMEWAIT_H

#include "keep.h"

#ifdef KEEP_CLOSES

/*
 * Whether a connection may leave a timewait socket now. A socket that connects again has the
 * cookie of the timewait socket that its former life left.
 */
static __always_inline bool may_leave_timewait(const struct life *l)
{
	__u32 n = (l->steps - 1) & 15;

	barrier_var(n);
	if (n >= LIFE_STEPS - 1) /* what came after that is not kept */
		return true;
	switch (l->walk[n] & 15) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
		return true;
	}
	return false;
}

/*
 * Keeps the birth of a timewait socket; false where that has to be sent. None of those that
 * leave one has failed.
 */
static __always_inline bool keep_timewait(const void *tw, __u64 cookie, __u8 substate)
{
	struct life *l;

	if (only_failed)
		return true;
	l = find_life(cookie);
	if (!l)
		return false;
	if (l->flags & LIFE_TOLD) { /* its timer was started again */
		if (substate == TCP_TIME_WAIT)
			forget_life(cookie);
		return false;
	}
	if (!may_leave_timewait(l))
		return substate == TCP_TIME_WAIT;
	l->timewait = (__u64)tw;
	l->substate = substate;
	return true;
}

/* Whether the change of a timewait socket to TIME_WAIT is kept: the full socket still ends. */
static __always_inline bool keep_timewait_change(__u64 cookie)
{
	struct life *l;

	if (only_failed)
		return true;
	l = find_life(cookie);
	if (!l)
		return false;
	if (l->flags & LIFE_TOLD) {
		forget_life(cookie);
		return false;
	}
	l->substate = TCP_TIME_WAIT;
	return true;
}

/* Whether the end of a timewait socket tells nothing: its close was told before. */
static __always_inline bool keep_timewait_end(__u64 cookie, __u8 substate)
{
	struct life *l;

	if (only_failed)
		return true;
	l = find_life(cookie);
	if (!l)
		return substate == TCP_TIME_WAIT;
	if (l->flags & LIFE_TOLD)
		forget_life(cookie);
	return false;
}

#else

#define keep_timewait(tw, cookie, substate) false
#define keep_timewait_change(cookie) false
#define keep_timewait_end(cookie, substate) false

#endif

#endif
