package snapshot

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// Diag asks the kernel for its sockets by sock_diag, a protocol of netlink. It needs
// no privilege, but the kernel may lack the module of a protocol (tcp_diag,
// udp_diag, raw_diag): then a dump ends with ENOENT.
//
// A Diag shows the network namespace that it was opened in, from any thread. It must
// not be used by several goroutines at once.
type Diag struct {
	// Clock is read around each part of a dump; nil means that the times of a
	// DiagBatch are not needed.
	Clock func() uint64

	conn netlinkConn
	buf  []byte // of Dump and Find, once they were called
}

// OpenDiag opens a Diag in the network namespace of the calling thread.
func OpenDiag() (*Diag, error) {
	conn, err := openNetlink(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	return &Diag{conn: conn}, nil
}

// Close closes the socket.
func (d *Diag) Close() error { return d.conn.close() }

// DiagQuery says which sockets to ask for.
type DiagQuery struct {
	Protocol Protocol
	// Family is AF_INET or AF_INET6. AF_UNSPEC, of TCP alone, asks for both in one
	// walk of the kernel's table: the rows of the families then come mixed, each
	// family in its order.
	Family uint8
	// States is a mask of TCP states, 1<<state; 0 means all that /proc shows.
	States uint32
}

// procStates are all states that /proc shows, up to TCP_NEW_SYN_RECV (12). Sockets
// that are bound and nothing else have number 13 since Linux 6.8
// (TCP_BOUND_INACTIVE, include/net/tcp_states.h).
const procStates = 1<<13 - 1

// DiagBatch is a part of a dump: as many rows as the kernel puts into one datagram.
type DiagBatch struct {
	// The kernel read the rows after the one and before the other reading of the
	// clock. It fills a datagram while the one before is fetched
	// (net/netlink/af_netlink.c, netlink_recvmsg, 6.12), the first one when it is asked.
	After, Before uint64

	messages []byte
}

// Rows yields the rows. They are valid until the callback of Dump returns.
func (b DiagBatch) Rows(yield func(DiagRow) bool) {
	for rest := b.messages; len(rest) > 0; {
		var row DiagRow
		if row, rest = cutMessage(rest); !yield(row) {
			return
		}
	}
}

// Dump hands all sockets that a query asks for to a function, part by part. The
// error is that of the function, or says that not all sockets came. Then the Diag is
// of no more use: the kernel may think that the dump still runs.
func (d *Diag) Dump(q DiagQuery, each func(DiagBatch) error) error {
	return d.DumpInto(q, d.buffer, each)
}

// DumpInto is Dump with a buffer for each part, which is the caller's from then on. A
// buffer has to take a whole part: see NewDiagBuffer.
func (d *Diag) DumpInto(q DiagQuery, buffer func() []byte, each func(DiagBatch) error) error {
	return d.exchange(q.dumpRequest(), buffer, each)
}

// exchange sends a request for a dump and hands over what comes.
func (d *Diag) exchange(request []byte, buffer func() []byte, each func(DiagBatch) error) error {
	p, err := d.start(request)
	for err == nil && !p.over {
		var b DiagBatch
		if b, err = p.next(buffer()); err == nil {
			err = each(b)
		}
	}
	return err
}

// dump is a dump under way.
type dump struct {
	d    *Diag
	span [2]uint64 // in which the part to come was read
	over bool      // no part comes any more
}

// start sends a request for a dump.
func (d *Diag) start(request []byte) (*dump, error) {
	p := &dump{d: d}
	p.span[0] = d.now()
	if err := d.conn.send(request); err != nil {
		return nil, err
	}
	p.span[1] = d.now()
	return p, nil
}

// next reads a part into a buffer.
func (p *dump) next(buf []byte) (DiagBatch, error) {
	next := [2]uint64{0: p.d.now()}
	n, err := p.d.conn.receive(buf)
	if err != nil {
		return DiagBatch{}, err
	}
	next[1] = p.d.now()
	messages, end, err := netlinkPart(buf[:n])
	if err == nil {
		err = checkDiagRows(messages)
	}
	b := DiagBatch{After: p.span[0], Before: p.span[1], messages: messages}
	p.span, p.over = next, end
	return b, err
}

func (d *Diag) now() uint64 {
	if d.Clock == nil {
		return 0
	}
	return d.Clock()
}

func (d *Diag) buffer() []byte {
	if d.buf == nil {
		d.buf = NewDiagBuffer()
	}
	return d.buf
}

// NewDiagBuffer returns a buffer for a part of a dump.
func NewDiagBuffer() []byte { return make([]byte, netlinkBuffer) }

// Buffer returns the buffer that the batch was read into, to be used again.
func (b DiagBatch) Buffer() []byte { return b.messages[:cap(b.messages)] }

// checkDiagRows fails if a message is too short to be a row.
func checkDiagRows(messages []byte) error {
	for len(messages) > 0 {
		var message []byte
		if message, messages = cutMessage(messages); len(message) < diagRowSize {
			return errNetlinkMessage
		}
	}
	return nil
}

// Find asks for one socket: the one of a protocol with the addresses, the device and the
// cookie of a row. It returns false if there is none any more. The kernel finds one of
// several listeners on an address and a port, and no other.
func (d *Diag) Find(p Protocol, row DiagRow) (found DiagRow, ok bool, err error) {
	request := DiagQuery{Protocol: p, Family: row.family(), States: procStates}.request()
	copy(request[diagRequestID:], row[diagRowID:][:diagIDSize])
	if err := d.conn.send(netlinkRequest(unix.SOCK_DIAG_BY_FAMILY, 0, request)); err != nil {
		return nil, false, err
	}
	buf := d.buffer()
	n, err := d.conn.receive(buf)
	if err != nil {
		return nil, false, err
	}
	messages, _, err := netlinkPart(buf[:n])
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESTALE): // net/core/sock_diag.c, sock_diag_check_cookie
		return nil, false, nil
	case err == nil:
		err = checkDiagRows(messages)
	}
	if err == nil && len(messages) == 0 {
		err = errNetlinkMessage
	}
	if err != nil {
		return nil, false, err
	}
	found, _ = cutMessage(messages)
	return found, true, nil
}

// The layout of struct inet_diag_sockid, inet_diag_req_v2 and inet_diag_msg
// (include/uapi/linux/inet_diag.h).
const (
	diagIDSize    = 48
	diagRequestID = 8
	diagRowID     = 4
	diagRowSize   = 72
)

// tcpDiagGetSock is TCPDIAG_GETSOCK, the message that sock_diag had before it knew
// other protocols. The kernel takes its dump for one of all families
// (net/ipv4/inet_diag.c, inet_diag_dump_compat, 5.10 to 6.18).
const tcpDiagGetSock = 18

// dumpRequest returns the message that asks for all sockets.
func (q DiagQuery) dumpRequest() []byte {
	if q.States == 0 {
		q.States = procStates
	}
	if q.Family != unix.AF_UNSPEC {
		return netlinkRequest(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, q.request())
	}
	old := make([]byte, 60) // struct inet_diag_req
	binary.NativeEndian.PutUint32(old[52:], q.States)
	return netlinkRequest(tcpDiagGetSock, unix.NLM_F_DUMP, old)
}

// request returns a struct inet_diag_req_v2.
func (q DiagQuery) request() []byte {
	b := make([]byte, diagRequestID+diagIDSize)
	b[0], b[1] = q.Family, q.Protocol.number()
	binary.NativeEndian.PutUint32(b[4:], q.States)
	return b
}

// number returns the protocol's number in sock_diag, which has all raw sockets
// under one.
func (p Protocol) number() byte {
	switch p {
	case TCP:
		return unix.IPPROTO_TCP
	case UDP:
		return unix.IPPROTO_UDP
	case UDPLite:
		return unix.IPPROTO_UDPLITE
	default:
		return unix.IPPROTO_RAW
	}
}
