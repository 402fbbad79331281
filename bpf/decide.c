// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Decides a made-up tuple, for the test that the reader decides the same.
 */
#include "wanted.h"

SEC("syscall")
int decide(struct tuple *ctx)
{
	struct tuple t = *ctx;

	return !wanted_term_count || wanted_tuple(&t);
}
