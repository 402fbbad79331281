package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// netlinkConn sends requests to the kernel and receives its answers, one datagram
// each.
type netlinkConn interface {
	send(request []byte) error
	receive(buf []byte) (n int, err error)
	close() error
}

// netlinkSocket is a netlink socket. It belongs to the network namespace that it
// was opened in, whatever thread uses it later.
type netlinkSocket struct{ fd int }

// openNetlink opens a socket of a netlink protocol in the network namespace of the
// calling thread.
func openNetlink(protocol int) (netlinkSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return netlinkSocket{}, fmt.Errorf("open netlink: %w", err)
	}
	return netlinkSocket{fd}, nil
}

func (s netlinkSocket) close() error { return unix.Close(s.fd) }

func (s netlinkSocket) send(request []byte) error {
	_, err := retry(func() (int, error) {
		return 0, unix.Sendto(s.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
	if err != nil {
		return fmt.Errorf("ask netlink: %w", err)
	}
	return nil
}

func (s netlinkSocket) receive(buf []byte) (int, error) {
	// With MSG_TRUNC it returns the length of the datagram even where buf is shorter.
	n, err := retry(func() (int, error) {
		n, _, err := unix.Recvfrom(s.fd, buf, unix.MSG_TRUNC)
		return n, err
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("read from netlink: %w", err)
	case n > len(buf):
		return 0, fmt.Errorf("read from netlink: %w", unix.EMSGSIZE)
	}
	return n, nil
}

// dumpNetlink asks a protocol of netlink for all there is of a kind and hands each
// answer to a function, without its header. The request is what follows the
// header. The answers are of the network namespace that the calling thread is in.
// An error says that not all of them came.
func dumpNetlink(protocol int, kind uint16, request []byte, each func(message []byte)) error {
	conn, err := openNetlink(protocol)
	if err != nil {
		return err
	}
	defer func() { _ = conn.close() }() // nothing is written
	if err := conn.send(netlinkRequest(kind, unix.NLM_F_DUMP, request)); err != nil {
		return err
	}
	buf := make([]byte, netlinkBuffer)
	for {
		n, err := conn.receive(buf)
		if err != nil {
			return err
		}
		messages, end, err := netlinkPart(buf[:n])
		if err != nil {
			return err
		}
		for len(messages) > 0 {
			var message []byte
			message, messages = cutMessage(messages)
			each(message)
		}
		if end {
			return nil
		}
	}
}

// netlinkBuffer takes the largest part of a dump: the kernel makes none above 32
// KiB (net/netlink/af_netlink.c, netlink_recvmsg, 6.12), and makes them as large as
// the buffer is.
const netlinkBuffer = 32 << 10

// netlinkRequest puts the header before a request.
func netlinkRequest(kind, flags uint16, request []byte) []byte {
	b := make([]byte, 0, unix.SizeofNlMsghdr+len(request))
	b = binary.NativeEndian.AppendUint32(b, uint32(cap(b)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, 1) // sequence number
	b = binary.NativeEndian.AppendUint32(b, 0) // from this socket, whatever its number
	return append(b, request...)
}

var (
	// errNetlinkMessage says that a datagram was cut or is none of netlink.
	errNetlinkMessage = errors.New("netlink: a message does not have its form")
	// ErrDumpInterrupted says that the kernel's tables changed so that a dump may lack
	// something or have it twice.
	ErrDumpInterrupted = errors.New("netlink: the dump was interrupted")
)

// netlinkPart checks one datagram of an answer. It returns the messages in it that
// carry data, each with its header, and whether the answer ends with them. An error
// says that the answer is not complete: the kernel reports one in the message that
// ends a dump, too (net/netlink/af_netlink.c, netlink_dump_done, 6.12).
func netlinkPart(b []byte) (messages []byte, end bool, err error) {
	for rest := b; len(rest) > 0; {
		if len(rest) < unix.SizeofNlMsghdr {
			return nil, false, errNetlinkMessage
		}
		length := int(binary.NativeEndian.Uint32(rest))
		if length < unix.SizeofNlMsghdr || length > len(rest) {
			return nil, false, errNetlinkMessage
		}
		if binary.NativeEndian.Uint16(rest[6:])&unix.NLM_F_DUMP_INTR != 0 {
			return nil, false, ErrDumpInterrupted
		}
		switch kind := binary.NativeEndian.Uint16(rest[4:]); kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			return b[:len(b)-len(rest)], true, netlinkError(rest[unix.SizeofNlMsghdr:length])
		}
		rest = rest[min(aligned(length), len(rest)):]
	}
	return b, false, nil
}

// netlinkError returns the error in a message that ends an answer, a negative
// number, or nil if it is 0.
func netlinkError(message []byte) error {
	if len(message) < 4 {
		return errNetlinkMessage
	}
	if errno := -int32(binary.NativeEndian.Uint32(message)); errno != 0 {
		return fmt.Errorf("netlink: %w", unix.Errno(errno))
	}
	return nil
}

// cutMessage takes the first of the messages that netlinkPart returned, without its
// header.
func cutMessage(messages []byte) (message, rest []byte) {
	length := int(binary.NativeEndian.Uint32(messages))
	return messages[unix.SizeofNlMsghdr:length], messages[min(aligned(length), len(messages)):]
}

// netlinkAttributes yields the attributes that follow the fixed part of a message.
func netlinkAttributes(b []byte) func(yield func(kind uint16, value []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(b))
			if length < unix.SizeofNlAttr || length > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:]), b[unix.SizeofNlAttr:length]) {
				return
			}
			b = b[min(aligned(length), len(b)):]
		}
	}
}

// aligned rounds a length up to where the next message or attribute begins.
func aligned(length int) int { return (length + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
