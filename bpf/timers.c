// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Where the timer functions of timewait and request sockets are. The loader runs this
 * once. The helper gives what kallsyms shows (5.16 on), without having the kernel print
 * all of that, which takes 30 ms.
 */
#include "stream.h"

static const char tw_timer_name[] = "tw_timer_handler";
static const char reqsk_timer_name[] = "reqsk_timer_handler";

SEC("syscall")
int find_timers(void *ctx)
{
	__u64 tw = 0, reqsk = 0;

	if (bpf_kallsyms_lookup_name(tw_timer_name, sizeof(tw_timer_name), 0, &tw) ||
	    bpf_kallsyms_lookup_name(reqsk_timer_name, sizeof(reqsk_timer_name), 0, &reqsk))
		return 1;
	tw_timer_handler = tw;
	reqsk_timer_handler = reqsk;
	return 0;
}
