package table

import (
	"slices"

	"github.com/nettrace/nettrace/snapshot"
)

// kindSet is a set of kinds of change. They are told in the order of their numbers, in
// which a call makes them: connect() may bind first.
type kindSet uint16

func (k *kindSet) add(kind SocketChangeKind) { *k |= 1 << kind }

// unixRules are those of Unix sockets (net/unix/af_unix.c). What an event has changed
// follows from the row before it, so that one which comes twice, or late, tells nothing.
type unixRules struct {
	sockets   *Sockets
	listeners map[unixName][]*socketRow
}

// unixName is a name in a network namespace. Files of one name may be several.
type unixName struct {
	netns uint32
	name  string
}

// take sets name, peer and listener, and notes what of them is new.
func (u unixRules) take(r *socketRow, e *SocketEvent) {
	if r.Unix == nil {
		r.Unix, r.quiet = &r.end, true
		r.end.made = !e.Unix.HasSocket || e.Kind == SocketAccept
	}
	r.end.changed = 0
	if e.Kind == SocketLostPeer && e.Other && e.Unix.Peer == 0 {
		// A datagram socket has left this one, which has no peer of its own: the kernel
		// closes it next (unix_dgram_connect).
		r.State = snapshot.Close
	}
	u.takeName(r, e)
	u.takePeer(r, e)
	u.takeSocket(r, e)
	if r.State == snapshot.Listen {
		u.listens(r, e)
	}
}

// listens takes that a socket is a listener, which it stays.
func (u unixRules) listens(r *socketRow, e *SocketEvent) {
	if e.After == 0 { // sock_diag and /proc do not have it
		if r.end.Backlog != e.Unix.Backlog && (r.end.backlog || e.Kind == SocketListen) {
			r.end.changed.add(SocketListen)
		}
		r.end.Backlog, r.end.backlog = e.Unix.Backlog, true
	}
	if !r.end.listens {
		r.end.listens = true
		name := unixName{r.Netns, r.end.Name}
		u.listeners[name] = append(u.listeners[name], r)
	}
}

// mayBe reports whether an event at the address of a row without a cookie may be of the same
// socket. Where no hook tells the end of Unix sockets, it may be a later one: a name stays
// with a socket, and so does its inode.
func (r *socketRow) mayBe(e *SocketEvent) bool {
	switch end := r.Unix; {
	case end == nil:
		return true
	case r.Inode != 0 && e.Inode != 0 && r.Inode != uint64(e.Inode):
		return false
	case e.Protocol != snapshot.Unix: // an open file, which says no more
		return true
	case end.HasSocket && !e.Unix.HasSocket:
		return false
	case end.made && end.PeerInode != 0 && e.Unix.PeerInode != 0 && end.PeerInode != uint64(e.Unix.PeerInode):
		return false
	default:
		return !end.Named || e.Unix.Named && end.Name == string(e.Unix.Name)
	}
}

// takeName takes a name, which a socket keeps.
func (unixRules) takeName(r *socketRow, e *SocketEvent) {
	end := &r.end
	if !e.Unix.Named || end.Named && end.Name == string(e.Unix.Name) {
		return
	}
	end.Name, end.Named = string(e.Unix.Name), true
	end.changed.add(SocketBind)
}

// takePeer takes whom the socket is connected to.
func (u unixRules) takePeer(r *socketRow, e *SocketEvent) {
	end := &r.end
	key := u.peerOf(r, e)
	if key != end.peerKey && !u.samePeer(r, e) {
		if end.peerKey = key; key != 0 {
			end.changed.add(SocketConnect)
		} else {
			end.changed.add(leaving(e))
		}
		end.Peer, end.PeerCookie, end.PeerInode, end.PeerPID = 0, 0, 0, 0
	}
	if end.peerKey = key; key == 0 {
		return
	}
	if !isAddress(key) {
		end.PeerCookie = key
	}
	if e.Unix.PeerInode != 0 {
		end.PeerInode = uint64(e.Unix.PeerInode)
	}
	if e.Unix.PeerPID != 0 {
		end.PeerPID = e.Unix.PeerPID
	}
	if e.More && u.peer(r) == nil {
		u.expect(r, e)
	}
	u.link(r)
}

// expect makes the row of a peer whose record comes next, so that what is told before has
// its id. Another socket that had its address is gone.
func (u unixRules) expect(r *socketRow, e *SocketEvent) {
	const dgram = 2
	s, key := u.sockets, r.end.peerKey
	named := SocketEvent{Kind: SocketOpen, Protocol: snapshot.Unix, Time: e.Time}
	if isAddress(key) {
		named.Sock = key
	} else {
		named.Cookie = key
	}
	if stale := s.index.at(named.Sock); stale != nil {
		s.vanish(stale, e.Time)
	}
	if s.tombs.has(key) {
		return
	}
	peer := s.add(&named)
	s.index.identify(peer, &named)
	peer.Netns, peer.last = r.Netns, e.Time
	peer.Unix, peer.quiet = &peer.end, true
	peer.end.made = r.Type != dgram
	peer.StartKnown = peer.end.made
	peer.end.peerKey = r.key()
}

// peerOf returns the key of the peer that an event names.
func (u unixRules) peerOf(r *socketRow, e *SocketEvent) uint64 {
	switch {
	case e.Unix.Peer != PeerByInode:
		return e.Unix.Peer
	case e.Unix.PeerInode == 0 && r.end.peerKey != 0: // not accepted yet
		return r.end.peerKey
	case e.Unix.PeerInode == 0 || u.sockets.index.byInode == nil:
		return PeerByInode
	case r.end.peerKey != 0 && r.end.PeerInode == uint64(e.Unix.PeerInode):
		return r.end.peerKey
	}
	if peer := u.sockets.index.byInode[uint64(e.Unix.PeerInode)]; peer != nil {
		return peer.key()
	}
	return PeerByInode
}

// samePeer reports whether the peer of an event is the one that is known, by another key:
// it has got a cookie since.
func (u unixRules) samePeer(r *socketRow, e *SocketEvent) bool {
	if r.end.peerKey == 0 || e.Unix.Peer == 0 {
		return false
	}
	if r.end.peerKey == PeerByInode && r.end.PeerInode == 0 { // it was not accepted then
		return true
	}
	peer := u.sockets.index.byKey(e.Unix.Peer)
	if peer != nil && r.end.Peer != 0 {
		return peer.ID == r.end.Peer
	}
	if isAddress(r.end.peerKey) && !isAddress(e.Unix.Peer) && e.Kind != SocketConnect {
		return peer == nil || peer.sock == r.end.peerKey // nil: it is gone since
	}
	return e.Unix.PeerInode != 0 && r.end.PeerInode == uint64(e.Unix.PeerInode)
}

// leaving returns how a socket has come to have no peer.
func leaving(e *SocketEvent) SocketChangeKind {
	if e.Kind == SocketLostPeer && !e.Other {
		return SocketLostPeer
	}
	return SocketDisconnect
}

// link takes from the peer what is known of it by now: it may have come later, been
// accepted, or got its cookie. It knows the same of this one. What is known of a peer that
// is gone stays.
func (u unixRules) link(r *socketRow) {
	peer := u.peer(r)
	if peer == nil {
		return
	}
	r.end.take(peer)
	mine := &peer.end
	if mine.peerKey == PeerByInode && mine.PeerInode == r.Inode && r.Inode != 0 {
		mine.peerKey = r.key()
	}
	if mine.peerKey != 0 && u.sockets.index.byKey(mine.peerKey) == r {
		mine.take(r)
	}
}

// peer returns the row of the peer, or nil. One that is known by its address may be that of
// a former socket there: of that the inodes tell.
func (u unixRules) peer(r *socketRow) *socketRow {
	peer := u.sockets.index.byKey(r.end.peerKey)
	if peer == nil || peer.Unix == nil || !isAddress(r.end.peerKey) {
		return peer
	}
	if peer.Inode != 0 && peer.Inode != r.end.PeerInode ||
		peer.end.made && peer.end.PeerInode != 0 && r.Inode != 0 && peer.end.PeerInode != r.Inode {
		return nil
	}
	return peer
}

// take takes who the peer is.
func (u *UnixEnd) take(peer *socketRow) {
	u.Peer = peer.ID
	if peer.Cookie != 0 {
		u.PeerCookie = peer.Cookie
	}
	if peer.Inode != 0 {
		u.PeerInode = peer.Inode
	}
}

// takeSocket takes whether a process can have the socket: it was accepted. Before, it is
// its listener's.
func (u unixRules) takeSocket(r *socketRow, e *SocketEvent) {
	end := &r.end
	if e.Unix.HasSocket && !end.HasSocket {
		end.HasSocket = true
		if end.made {
			end.changed.add(SocketAccept)
		}
	}
	if end.made && (end.Listener == 0 || !end.HasSocket && r.Owner.Process == nil) {
		if l := u.listener(r, e); l != nil {
			u.inherit(r, l)
		}
	}
}

// listener returns the listener that a socket was made by: the kernel names it while the
// socket waits for accept(), where it has a field for that. Elsewhere it is the only one
// with the name.
func (u unixRules) listener(r *socketRow, e *SocketEvent) *socketRow {
	if e.Unix.Listener != 0 {
		return u.sockets.index.byKey(e.Unix.Listener)
	}
	if named := u.listeners[unixName{r.Netns, r.end.Name}]; len(named) == 1 {
		return named[0]
	}
	return nil
}

// inherit makes the listener's owner that of a socket that waits for accept().
func (u unixRules) inherit(r, l *socketRow) {
	r.end.Listener = l.ID
	if r.Owner.Process == nil && l.Owner.Process != nil {
		r.Owner = l.Owner
		r.Owner.Source = snapshot.OwnerListener
	}
	if !r.HasUID {
		r.UID, r.HasUID = l.UID, l.HasUID
	}
	if r.CgroupID == 0 {
		r.CgroupID = l.CgroupID
	}
}

// told tells what an event has changed, but for the last thing, which it returns.
func (u unixRules) told(r *socketRow, before *SocketBefore, e *SocketEvent) SocketChangeKind {
	kinds := u.changes(r, before, e)
	last := SocketSeen
	for kind := SocketOpen; kind < SocketChangeKinds; kind++ {
		if kinds&(1<<kind) == 0 {
			continue
		}
		if last != SocketSeen {
			u.sockets.tell(r, last, before, e)
		}
		last = kind
	}
	return last
}

// changes returns what is to be told of a row. Of a socket that connect() has made nothing
// is until it is connected, as the listener may refuse it; then it is open with its name
// and its peer.
func (u unixRules) changes(r *socketRow, before *SocketBefore, e *SocketEvent) kindSet {
	if u.sockets.pass.initial && !r.StartKnown { // the initial table has it
		r.quiet = false
		return 0
	}
	if r.quiet && !r.end.HasSocket && r.State != snapshot.Established {
		return 0
	}
	changed := r.end.changed
	if !r.quiet {
		changed |= stateChanges(before.State, r.State, e)
		return changed
	}
	r.quiet = false
	changed.add(SocketOpen)
	if r.end.made {
		return changed & (1<<SocketOpen | 1<<SocketAccept)
	}
	if r.State == snapshot.Listen {
		changed.add(SocketListen)
	}
	return changed
}

// stateChanges returns what a change of the state says. A datagram socket that another one
// is connected to is ESTABLISHED too, from Linux 6.1 on.
func stateChanges(from, to snapshot.State, e *SocketEvent) (changed kindSet) {
	switch {
	case from == to:
	case to == snapshot.Listen:
		changed.add(SocketListen)
	case to == snapshot.Established:
		changed.add(SocketConnect)
	case from == snapshot.Established:
		changed.add(leaving(e))
	}
	return changed
}

// gone forgets a listener. What others know of a peer that is gone stays.
func (u unixRules) gone(r *socketRow) {
	if !r.end.listens {
		return
	}
	name := unixName{r.Netns, r.end.Name}
	rest := slices.DeleteFunc(u.listeners[name], func(l *socketRow) bool { return l == r })
	if u.listeners[name] = rest; len(rest) == 0 {
		delete(u.listeners, name)
	}
}

// isAddress reports whether a key is an address of the kernel, which lie in the upper half.
func isAddress(key uint64) bool { return int64(key) < 0 }
