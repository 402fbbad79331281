package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/peer"
)

// The kinds of nftables' reject (include/uapi/linux/netfilter/nf_tables.h).
const (
	rejectICMP  = unix.NFT_REJECT_ICMP_UNREACH
	rejectReset = unix.NFT_REJECT_TCP_RST
)

// reject makes the namespace's own firewall reject what it sends to the peer. Where
// the kernel has no nftables the ending is left out.
func (s *stage) reject(kind uint32) {
	nl, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		s.absent = "needs nftables"
		s.check(err)
	}
	s.check(err)
	defer unix.Close(nl)
	table := fmt.Sprintf("t%d", s.to.Addr().As4()[3])
	dst := s.to.Addr().As4()
	batch := nftMessage(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.NFNL_SUBSYS_NFTABLES)
	batch = append(batch, nftMessage(nftables(unix.NFT_MSG_NEWTABLE), unix.NLM_F_CREATE|unix.NLM_F_ACK, 0,
		text(unix.NFTA_TABLE_NAME, table))...)
	batch = append(batch, nftMessage(nftables(unix.NFT_MSG_NEWCHAIN), unix.NLM_F_CREATE|unix.NLM_F_ACK, 0,
		text(unix.NFTA_CHAIN_TABLE, table), text(unix.NFTA_CHAIN_NAME, "output"), text(unix.NFTA_CHAIN_TYPE, "filter"),
		nested(unix.NFTA_CHAIN_HOOK, number(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT), number(unix.NFTA_HOOK_PRIORITY, 0)))...)
	batch = append(batch, nftMessage(nftables(unix.NFT_MSG_NEWRULE), unix.NLM_F_CREATE|unix.NLM_F_APPEND|unix.NLM_F_ACK, 0,
		text(unix.NFTA_RULE_TABLE, table), text(unix.NFTA_RULE_CHAIN, "output"),
		nested(unix.NFTA_RULE_EXPRESSIONS,
			expression("payload", number(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1),
				number(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER),
				number(unix.NFTA_PAYLOAD_OFFSET, 16), number(unix.NFTA_PAYLOAD_LEN, 4)),
			expression("cmp", number(unix.NFTA_CMP_SREG, unix.NFT_REG_1), number(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ),
				nested(unix.NFTA_CMP_DATA, attribute(unix.NFTA_DATA_VALUE, dst[:]))),
			expression("reject", number(unix.NFTA_REJECT_TYPE, kind),
				attribute(unix.NFTA_REJECT_ICMP_CODE, []byte{icmpPort}))))...)
	batch = append(batch, nftMessage(unix.NFNL_MSG_BATCH_END, 0, unix.NFNL_SUBSYS_NFTABLES)...)
	s.check(unix.Sendto(nl, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	reply := make([]byte, 8192)
	for acks := 0; acks < 3; {
		n, _, err := unix.Recvfrom(nl, reply, 0)
		s.check(err)
		for b := reply[:n]; len(b) >= unix.SizeofNlMsghdr+4; acks++ {
			if code := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])); code != 0 {
				if err := unix.Errno(-code); err == unix.ENOENT || err == unix.EOPNOTSUPP || err == unix.EINVAL {
					s.absent = "needs nftables with reject: " + err.Error()
				}
				s.check(fmt.Errorf("nftables: %w", unix.Errno(-code)))
			}
			b = b[min(len(b), int(binary.NativeEndian.Uint32(b)+3)&^3):]
		}
	}
}

func nftables(message uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | message }

// nftMessage is a netlink message with a struct nfgenmsg.
func nftMessage(kind, flags, resource uint16, attributes ...[]byte) []byte {
	m := make([]byte, unix.SizeofNlMsghdr, 512)
	m = append(m, unix.NFPROTO_IPV4, unix.NFNETLINK_V0)
	m = binary.BigEndian.AppendUint16(m, resource)
	for _, a := range attributes {
		m = append(m, a...)
	}
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], flags|unix.NLM_F_REQUEST)
	return m
}

func attribute(kind uint16, value []byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	a = binary.NativeEndian.AppendUint16(a, kind)
	a = append(a, value...)
	return append(a, make([]byte, -len(a)&3)...)
}

func text(kind uint16, value string) []byte { return attribute(kind, append([]byte(value), 0)) }

func number(kind uint16, value uint32) []byte {
	return attribute(kind, binary.BigEndian.AppendUint32(nil, value))
}

func nested(kind uint16, attributes ...[]byte) []byte {
	var all []byte
	for _, a := range attributes {
		all = append(all, a...)
	}
	return attribute(kind|unix.NLA_F_NESTED, all)
}

func expression(name string, attributes ...[]byte) []byte {
	return nested(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, name), nested(unix.NFTA_EXPR_DATA, attributes...))
}

// rejections are the endings that this host's own firewall brings about.
var rejections = []ending{
	{
		name: "rejected by the firewall",
		play: func(s *stage) {
			s.reject(rejectICMP)
			connectOnly(s)
		},
		outcome: "rejected", errno: "ECONNREFUSED", walk: walkNoAnswer,
	},
	{
		name: "rejected by the firewall, SO_ERROR",
		play: func(s *stage) {
			s.reject(rejectICMP)
			fd := s.nonblocking()
			if err := s.connect(fd); !errors.Is(err, unix.EINPROGRESS) {
				s.check(fmt.Errorf("connect: %w", err))
			}
			// The error is there, but poll(2) shows it only after the second SYN.
			for range 100 {
				value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
				s.check(err)
				if s.saw = unix.Errno(value); value != 0 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			s.close(fd)
		},
		outcome: "rejected", errno: "ECONNREFUSED", walk: walkNoAnswer,
		hook: connectHook, without: "aborted_connect",
	},
	{
		name: "rejected by the firewall, given up unseen",
		play: func(s *stage) {
			s.reject(rejectICMP)
			fd := s.nonblocking()
			if err := s.connect(fd); !errors.Is(err, unix.EINPROGRESS) {
				s.check(fmt.Errorf("connect: %w", err))
			}
			s.close(fd) // long before the second SYN
		},
		outcome: "aborted_connect", walk: walkNoAnswer,
	},
	{
		name: "reset by the firewall",
		play: func(s *stage) {
			s.reject(rejectReset)
			connectOnly(s)
		},
		// The firewall answers in the peer's name, by way of the loopback.
		outcome: "refused", errno: "ECONNREFUSED", closedBy: peer.Them, offWire: true, walk: walkNoAnswer,
	},
}
