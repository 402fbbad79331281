// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The programs of UDP, raw and Unix sockets: what each call has made of a socket, and
 * whose call it was. An object of its own, read only where such sockets are asked for; it
 * writes into the ring of the TCP stream, and shares the processes that were sent.
 */
#include "udp.c"
#include "raw.c"
#include "unix.c"
#include "unix_probe.c"
#include "unix_rows.c"
#include "socket_rows.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types that cross the ring in the BTF of the object, for bpf2go. */
const struct socket_event *socket_event_type __attribute__((unused));
const struct unix_event *unix_event_type __attribute__((unused));
const enum socket_change *socket_change_type __attribute__((unused));
const enum socket_flag *socket_flag_type __attribute__((unused));
const enum unix_flag *unix_flag_type __attribute__((unused));
