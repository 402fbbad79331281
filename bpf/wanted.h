/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What every socket that a run asks for must fulfil: a disjunction of terms over a
 * few atoms, each of them a comparison with something that all events of a
 * connection carry. The loader sets it; without terms everything is wanted, and the
 * verifier removes what is here as dead code. Package tracer/table decides the same
 * (condition.go).
 *
 * An event is decided alone, from what it knows. What it does not know counts as
 * fulfilled: the reader decides again.
 */
#ifndef NETTRACE_WANTED_H
#define NETTRACE_WANTED_H

#include "sock.h"

#define WANTED_ATOMS 16
#define WANTED_TERMS 8
#define WANTED_RANGES 4

/* What an atom is about. Bits of these say what an event does not know. */
enum wanted_field {
	WANTED_FAMILY,
	WANTED_NETNS,
	WANTED_DEVICE,
	WANTED_LOCAL_ADDR,
	WANTED_REMOTE_ADDR,
	WANTED_LOCAL_PORT,
	WANTED_REMOTE_PORT,
};

#define PORT_UNKNOWN (1U << WANTED_LOCAL_PORT)
/*
 * What is not asked of a listener: its children have values of their own there, and
 * take direction and owner from it.
 */
#define LISTENER_UNKNOWN                                                                           \
	(1U << WANTED_DEVICE | 1U << WANTED_LOCAL_ADDR | 1U << WANTED_REMOTE_ADDR |                \
	 1U << WANTED_REMOTE_PORT)

struct wanted_range {
	__u16 first, last; /* both are in it; one that is empty has the larger number first */
};

struct wanted_atom {
	__u32 field;
	__u32 value;	 /* address family, inode of a network namespace, index of an interface */
	__u32 only6;	 /* addresses: of IPv6 sockets alone */
	__u32 several;	 /* ports: more than the first of the ranges */
	__u32 in_set;	 /* ports: those of the atom's set, not of the ranges */
	__u32 prefix[4]; /* as in struct tuple, cut by the mask */
	__u32 mask[4];
	struct wanted_range ports[WANTED_RANGES];
};

struct wanted_term {
	__u16 pos; /* bits of the atoms that must hold */
	__u16 neg; /* and of those that must not */
};

/* A bit for each port, by atom. */
struct port_bits {
	__u8 bits[WANTED_ATOMS][8192];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct port_bits);
} port_sets SEC(".maps");

const volatile bool has_port_sets;
const volatile bool has_addr_atoms;
const volatile bool has_netns_atoms;
const volatile struct wanted_atom wanted_atoms[WANTED_ATOMS];
const volatile struct wanted_term wanted_terms[WANTED_TERMS];
const volatile __u32 wanted_atom_count;
const volatile __u32 wanted_term_count;

/* What an event knows of its socket. */
struct tuple {
	__u32 local[4]; /* network byte order; IPv4 as ::ffff:a.b.c.d */
	__u32 remote[4];
	__u32 family;
	__u32 netns;
	__u32 device;
	__u32 local_port; /* host byte order */
	__u32 remote_port;
	__u32 unknown; /* bits of enum wanted_field */
};

/*
 * The comparisons do not branch. The verifier would follow both ways at each atom, and
 * go through each combination of them.
 */
static __always_inline __u32 is_zero(__u32 x)
{
	__u32 negative = -x;

	barrier_var(negative);
	return ~(x | negative) >> 31;
}

static __always_inline __u32 is_within(__u32 x, __u32 first, __u32 last)
{
	__u32 below = x - first, above = last - x;

	barrier_var(below);
	barrier_var(above);
	return ~(below | above) >> 31;
}

static __always_inline __u32 has_prefix(const volatile struct wanted_atom *atom, const __u32 *addr,
					__u32 family)
{
	__u32 diff = (addr[0] & atom->mask[0]) ^ atom->prefix[0];

	diff |= (addr[1] & atom->mask[1]) ^ atom->prefix[1];
	diff |= (addr[2] & atom->mask[2]) ^ atom->prefix[2];
	diff |= (addr[3] & atom->mask[3]) ^ atom->prefix[3];
	diff |= atom->only6 & (family ^ AF_INET6);
	return is_zero(diff);
}

static __always_inline __u32 has_port(const volatile struct wanted_atom *atom, __u32 port)
{
	__u32 has = is_within(port, atom->ports[0].first, atom->ports[0].last);

	if (atom->several) /* a constant to the verifier */
		has |= is_within(port, atom->ports[1].first, atom->ports[1].last) |
		       is_within(port, atom->ports[2].first, atom->ports[2].last) |
		       is_within(port, atom->ports[3].first, atom->ports[3].last);
	return has;
}

static __always_inline __u32 has_port_of(__u32 i, __u32 port, const struct port_bits *sets)
{
	const volatile struct wanted_atom *atom = &wanted_atoms[i];

	if (has_port_sets && sets && atom->in_set)
		return sets->bits[i][port >> 3 & 8191] >> (port & 7) & 1;
	return has_port(atom, port);
}

/* Returns 1 where the atom holds, else 0. */
static __always_inline __u32 holds(__u32 i, const struct tuple *t, const struct port_bits *sets)
{
	const volatile struct wanted_atom *atom = &wanted_atoms[i];

	switch (atom->field) {
	case WANTED_FAMILY:
		return is_zero(atom->value ^ t->family);
	case WANTED_NETNS:
		return is_zero(atom->value ^ t->netns);
	case WANTED_DEVICE:
		return is_zero(atom->value ^ t->device);
	case WANTED_LOCAL_ADDR:
		return has_prefix(atom, t->local, t->family);
	case WANTED_REMOTE_ADDR:
		return has_prefix(atom, t->remote, t->family);
	case WANTED_LOCAL_PORT:
		return has_port_of(i, t->local_port, sets);
	case WANTED_REMOTE_PORT:
		return has_port_of(i, t->remote_port, sets);
	}
	return 0;
}

/* Whether one of the terms may hold. */
static __always_inline bool wanted_tuple(const struct tuple *t)
{
	__u32 held = 0, unknown = 0, zero = 0, i, lacks;
	struct port_bits *sets = NULL;

	if (has_port_sets) {
		sets = bpf_map_lookup_elem(&port_sets, &zero);
		if (!sets)
			return true;
	}
	for (i = 0; i < WANTED_ATOMS; i++) {
		if (i >= wanted_atom_count)
			break;
		held |= holds(i, t, sets) << i;
		unknown |= (t->unknown >> (wanted_atoms[i].field & 31) & 1) << i;
	}
	held &= ~unknown;
	for (i = 0; i < WANTED_TERMS; i++) {
		if (i >= wanted_term_count)
			break;
		lacks = wanted_terms[i].pos & ~(held | unknown);
		lacks |= wanted_terms[i].neg & held;
		if (!lacks)
			return true;
	}
	return false;
}

static __always_inline void set_v4(__u32 *addr, __u32 v4)
{
	addr[0] = addr[1] = 0;
	addr[2] = bpf_htonl(0xffff);
	addr[3] = v4;
}

static __always_inline void set_v6(__u32 *addr, const struct in6_addr *v6)
{
	addr[0] = v6->in6_u.u6_addr32[0];
	addr[1] = v6->in6_u.u6_addr32[1];
	addr[2] = v6->in6_u.u6_addr32[2];
	addr[3] = v6->in6_u.u6_addr32[3];
}

/*
 * The network namespace as far as conditions ask for it. It lies in a cache line of its
 * own: this is decided before anything else is read, as most sockets may be unwanted.
 */
static __always_inline __u32 netns_asked(const struct sock_common *skc)
{
	return has_netns_atoms ? netns_of(skc) : 0;
}

/* Whether a socket may fulfil one of them. unknown has bits of what the event does not know. */
static __always_inline bool fulfils(const struct sock_common *skc, __u32 netns, __u16 local_port,
				    __u32 unknown)
{
	struct tuple t = {};

	t.family = skc->skc_family;
	if (has_addr_atoms && t.family == AF_INET) {
		set_v4(t.local, skc->skc_rcv_saddr);
		set_v4(t.remote, skc->skc_daddr);
	} else if (has_addr_atoms) {
		set_v6(t.local, &skc->skc_v6_rcv_saddr);
		set_v6(t.remote, &skc->skc_v6_daddr);
	}
	t.netns = netns;
	t.device = skc->skc_bound_dev_if;
	t.local_port = local_port;
	t.remote_port = bpf_ntohs(skc->skc_dport);
	t.unknown = unknown | (local_port ? 0 : PORT_UNKNOWN);
	return wanted_tuple(&t);
}

/* Not inlined: the stack of the tuple is in use only here. */
static __noinline bool fulfils_apart(const struct sock_common *skc, __u16 local_port, __u32 unknown)
{
	return fulfils(skc, netns_asked(skc), local_port, unknown);
}

/* The same, and everything is wanted where there are no terms. */
static __always_inline bool wanted(const struct sock_common *skc, __u16 local_port, __u32 unknown)
{
	return !wanted_term_count || fulfils_apart(skc, local_port, unknown);
}

/* Of listeners, what they are not asked for. */
static __always_inline __u32 unknown_of(const struct sock_common *skc)
{
	return skc->skc_state == TCP_LISTEN ? LISTENER_UNKNOWN : 0;
}

/* The same of a socket that has its port, if it ever gets one; mini sockets too. */
static __always_inline bool wanted_sock(const struct sock_common *skc)
{
	return wanted(skc, skc->skc_num, unknown_of(skc));
}

#endif
