package snapshot

import "net/netip"

// Head is what can be known of any socket, wherever it is read: in a file of
// /proc, from sock_diag, or in an event of the kernel. A field that its source
// does not carry is zero.
type Head struct {
	Protocol Protocol
	State    State
	UID      uint32
	Netns    uint32 // inode of the network namespace
	Device   uint32 // index of the interface that it is bound to; 0: none, or not read
	Local    netip.AddrPort
	Remote   netip.AddrPort
	Inode    uint64 // 0: not attached to a file (TIME_WAIT, orphan, not accepted)
	Cookie   uint64 // the kernel's number of the socket, never used again while it runs
	CgroupID uint64 // cgroup v2 id
	RecvQ    uint64 // bytes; for a listener the length of its accept queue
	SendQ    uint64 // bytes
	Owner    Owner
	Workload *Workload // what its owner runs in; nil: not known, or not looked for
}

// OwnerSource says how the owner of a socket is known, surest first.
type OwnerSource uint8

// The ways an owner is known.
const (
	OwnerUnknown  OwnerSource = iota
	OwnerSocket               // seen in the process at connect, accept or listen
	OwnerFiles                // found by its open files
	OwnerListener             // inherited from the listening socket, not accepted yet
	OwnerContext              // its call led to a transition; another process may have accepted it
)

// Owner is the process that a socket is attributed to.
type Owner struct {
	Process *Process // nil: not known
	TID     uint32   // thread that made the call; 0 when not known
	Thread  [16]byte // its name, NUL-terminated, where it differs from the process's
	Source  OwnerSource
}

// Process is a process as it was when it was read, or when it first touched a
// socket. It is immutable: an exec or a reused pid makes a new one. What a
// process says of itself is raw: it may write there what it likes.
type Process struct {
	PID     int    // thread-group id in the pid namespace that is shown; 0: it has none there
	Comm    string // name of the thread-group leader, at most 15 bytes; empty: not read
	Cmdline string // start of the command line, arguments separated by NUL
	Exe     string // path of the executable; empty: not read, or the process was gone
	Context string // SELinux context; only if it was asked for
}
