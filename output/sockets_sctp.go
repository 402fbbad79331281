package output

import (
	"net/netip"
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
)

// AppendSCTPEndpoint appends an SCTP endpoint: a line for each local address.
func (t *SocketText) AppendSCTPEndpoint(dst []byte, e *snapshot.SCTPEndpoint) []byte {
	for i, a := range e.Local {
		if i == 0 {
			dst = appendLeft(dst, "sctp", sctpIndent)
		} else {
			dst = append(dst, '\n')
			dst = padTo(dst, len(dst)+sctpIndent)
		}
		dst = t.appendSCTPAddr(dst, a, int(e.Port), sctpEndpointWidth)
		dst = appendSCTPState(append(dst, ' '), e.State, i == 0)
	}
	return t.appendSCTPSuffix(dst, e.UID, e.Inode)
}

// AppendSCTPAssociation appends an SCTP association: a line for each pair of a
// local and a remote address, the first with the ports.
func (t *SocketText) AppendSCTPAssociation(dst []byte, a *snapshot.SCTPAssociation) []byte {
	for i := range max(len(a.Local), len(a.Remote)) {
		lport, rport := noPort, noPort
		if i == 0 {
			dst = append(dst, "sctp "...)
			dst = appendQueues(dst, int64(a.RecvQ), int64(a.SendQ))
			dst = append(dst, ' ')
			lport, rport = int(a.LPort), int(a.RPort)
		} else {
			dst = append(dst, '\n')
			dst = padTo(dst, len(dst)+sctpIndent)
		}
		dst = t.appendSCTPNth(dst, a.Local, i, lport)
		dst = t.appendSCTPNth(append(dst, ' '), a.Remote, i, rport)
		dst = appendSCTPState(append(dst, ' '), a.State, i == 0)
	}
	return t.appendSCTPSuffix(dst, a.UID, a.Inode)
}

const (
	sctpIndent  = 20
	sctpTextMax = 63 // of an address with its port
	noPort      = -1
)

// appendSCTPNth appends an address of a list, or its column empty.
func (t *SocketText) appendSCTPNth(dst []byte, list []netip.Addr, i, port int) []byte {
	if i >= len(list) {
		return padTo(dst, len(dst)+endpointWidth)
	}
	return t.appendSCTPAddr(dst, list[i], port, endpointWidth)
}

// appendSCTPAddr appends an address, and the port unless it is noPort, in a
// column. Ports of SCTP never have names.
func (t *SocketText) appendSCTPAddr(dst []byte, a netip.Addr, port, width int) []byte {
	start := len(dst)
	if t.NumericSCTP {
		dst = AppendAddr(dst, a)
	} else {
		dst = t.Names.AppendHost(dst, a)
	}
	switch port {
	case noPort:
	case 0:
		dst = append(dst, ":*"...)
	default:
		dst = append(dst, ':')
		dst = strconv.AppendInt(dst, int64(port), 10)
	}
	dst = dst[:min(len(dst), start+sctpTextMax)]
	return padTo(dst, start+width)
}

// appendSCTPState appends the state, which stands on the first line of a row.
// Netstat has TCP's names for it.
func appendSCTPState(dst []byte, state int32, first bool) []byte {
	start := len(dst)
	switch {
	case !first || state == 0:
	case state > 0 && state <= int32(snapshot.Closing):
		dst = append(dst, snapshot.State(state).String()...)
	default:
		dst = append(dst, "UNKNOWN("...)
		dst = strconv.AppendInt(dst, int64(state), 10)
		dst = append(dst, ')')
	}
	return padTo(dst, start+stateWidth)
}

func (t *SocketText) appendSCTPSuffix(dst []byte, uid uint32, inode uint64) []byte {
	dst = t.appendSuffix(dst, uid, inode)
	if t.Timers {
		dst = append(dst, ' ') // SCTP has none
	}
	return append(dst, '\n')
}
