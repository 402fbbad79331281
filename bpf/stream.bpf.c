// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The programs of the TCP stream: every transition, who called connect, listen,
 * accept and close, the life of request and timewait sockets, why connections end,
 * and which processes hold which sockets. All records go through one ring buffer. The
 * place in the ring is the order of events: a socket's records are submitted under its
 * lock, so their order is the kernel's own.
 *
 * One object, each concern a file: they share maps and variables, and reading one
 * object takes 2 ms of the start. Package tracer loads each program by itself, and
 * only those that it chooses. The programs on tp_btf and fentry use direct loads
 * only, so that they load under lockdown=confidentiality too, where
 * bpf_probe_read_kernel is refused.
 */
#include "state.c"
#include "connect.c"
#include "accept.c"
#include "close.c"
#include "mini.c"
#include "end.c"
#include "files.c"
#include "whoami.c"
#include "timers.c"
#include "decide.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types that cross the ring in the BTF of the object, for bpf2go. */
const enum event_kind *kind_type __attribute__((unused));
const enum tells *tells_type __attribute__((unused));
const enum count *count_type __attribute__((unused));
const struct event *event_type __attribute__((unused));
const struct owner_event *owner_event_type __attribute__((unused));
const enum close_flag *close_flag_type __attribute__((unused));
const struct close_event *close_event_type __attribute__((unused));
const struct process_event *process_event_type __attribute__((unused));
const struct exe_event *exe_event_type __attribute__((unused));
const struct file_event *file_event_type __attribute__((unused));
const struct request_event *request_event_type __attribute__((unused));
const struct life_event *life_event_type __attribute__((unused));
const enum life_flag *life_flag_type __attribute__((unused));
const struct dropped_event *dropped_event_type __attribute__((unused));
const enum wanted_field *wanted_field_type __attribute__((unused));
const struct port_bits *port_bits_type __attribute__((unused));
const struct whoami_row *whoami_row_type __attribute__((unused));
