package output

import (
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// AX25 appends the "socket" record of an AX.25 socket.
func (w legacyRecords) AX25(at time.Time, s *snapshot.AX25Socket) {
	w.beginLegacy(at, "ax25", s.Dest, s.Source, s.Device)
	w.legacyState(ax25States, s.State)
	w.sequences(s.VR, s.VS)
	w.legacyQueues(s.SendQ, s.RecvQ)
	w.end()
}

// X25 appends the "socket" record of an X.25 socket.
func (w legacyRecords) X25(at time.Time, s *snapshot.X25Socket) {
	w.beginLegacy(at, "x25", s.Dest, s.Source, s.Device)
	w.int(`,"lci":`, int64(s.LCI))
	w.legacyState(x25States, s.State)
	w.sequences(s.VR, s.VS)
	w.legacyQueues(s.SendQ, s.RecvQ)
	w.end()
}

// NetROM appends the "socket" record of a NET/ROM socket.
func (w legacyRecords) NetROM(at time.Time, s *snapshot.NetROMSocket) {
	w.beginLegacy(at, "netrom", s.Dest, s.Source, s.Device)
	w.some(`,"user_call":`, s.User)
	w.legacyState(netromStates, s.State)
	w.sequences(s.VR, s.VS)
	w.legacyQueues(s.SendQ, s.RecvQ)
	w.end()
}

// ROSE appends the "socket" record of a ROSE socket.
func (w legacyRecords) ROSE(at time.Time, s *snapshot.ROSESocket) {
	w.beginLegacy(at, "rose", s.DestAddr, s.SrcAddr, s.Device)
	w.some(`,"dest_call":`, s.DestCall)
	w.some(`,"source_call":`, s.SrcCall)
	w.int(`,"lci":`, int64(s.LCI))
	w.int(`,"neighbour":`, int64(s.Neighbour))
	w.legacyState(netromStates, s.State)
	w.end()
}

// IPX appends the "socket" record of an IPX socket.
func (w legacyRecords) IPX(at time.Time, s *snapshot.IPXSocket) {
	dest := ""
	if s.Connected {
		dest = ipxText(s.Remote)
	}
	w.beginLegacy(at, "ipx", dest, ipxText(s.Local), "")
	if s.State == uint32(snapshot.Established) {
		w.word(`,"state":`, snapshot.Established.String())
	}
	w.queue(`,"recv_q":`, s.RecvQ)
	w.queue(`,"send_q":`, s.SendQ)
	w.user(s.UID)
	w.end()
}

// beginLegacy starts the line of a socket of a family other than Internet.
func (w legacyRecords) beginLegacy(at time.Time, transport, dest, source, device string) {
	w.beginAt("socket", at)
	w.word(`,"transport":`, transport)
	w.some(`,"dest_addr":`, dest)
	w.some(`,"source_addr":`, source)
	w.some(`,"device":`, device)
}

func (w legacyRecords) legacyState(names []string, n int32) {
	if n >= 0 && int(n) < len(names) {
		w.word(`,"state":`, names[n])
	}
}

func (w legacyRecords) sequences(vr, vs int32) {
	w.int(`,"vr":`, int64(vr))
	w.int(`,"vs":`, int64(vs))
}

func (w legacyRecords) legacyQueues(send, recv int32) {
	w.int(`,"recv_q":`, int64(recv))
	w.int(`,"send_q":`, int64(send))
}
