// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The programs of the TCP stream where closes alone are told: the same, but they keep
 * transitions until the end of a connection. See keep.h.
 */
#define KEEP_CLOSES
#include "stream.bpf.c"
