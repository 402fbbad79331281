package output

import (
	"math"
	"net/netip"
	"strconv"
	"strings"

	"github.com/nettrace/nettrace/snapshot"
)

// Listening says which sockets a table shows.
type Listening uint8

// The kinds of tables: without option, with -l, with -a.
const (
	WithoutServers Listening = iota
	OnlyServers
	ServersAndEstablished
)

// ListeningOf returns what the options -a and -l ask for.
func ListeningOf(all, listening bool) Listening {
	switch {
	case all:
		return ServersAndEstablished
	case listening:
		return OnlyServers
	}
	return WithoutServers
}

func (l Listening) String() string {
	switch l {
	case OnlyServers:
		return "(only servers)"
	case ServersAndEstablished:
		return "(servers and established)"
	default:
		return "(w/o servers)"
	}
}

// Shows reports whether such a table shows a socket, given whether it is a server.
func (l Listening) Shows(server bool) bool {
	return l == ServersAndEstablished || (l == OnlyServers) == server
}

// SocketText writes netstat's text of sockets, byte for byte. Rows are appended
// to a buffer of the caller. The options are those of the command line.
type SocketText struct {
	Names    Names
	Owners   *snapshot.Owners // nil: none are known
	Extend   bool             // -e: user and inode
	Programs bool             // -p
	Context  bool             // -Z
	Timers   bool             // -o
	Wide     bool             // -W
	// NumericSCTP keeps the addresses of SCTP numbers; several options that
	// leave the other protocols their names do so.
	NumericSCTP bool

	host, port []byte // scratch
}

// Widths of the columns, in bytes.
const (
	endpointWidth     = 23
	stateWidth        = 11
	ownerWidth        = 20
	contextWidth      = 50
	sctpEndpointWidth = 47
)

// AppendInternetHeader appends the two lines above the Internet sockets.
func (t *SocketText) AppendInternetHeader(dst []byte, l Listening) []byte {
	return append(t.appendTitles(dst, l, socketTitles), '\n')
}

// socketTitles are the titles of the columns that every table of sockets has.
const socketTitles = "Proto Recv-Q Send-Q Local Address           Foreign Address         State      "

// appendTitles appends the title of a table, and those of its columns: the first
// ones as they are, then those that options add. The line is left open.
func (t *SocketText) appendTitles(dst []byte, l Listening, first string) []byte {
	dst = append(dst, "Active Internet connections "...)
	dst = append(dst, l.String()...)
	dst = append(dst, '\n')
	dst = append(dst, first...)
	if t.Extend {
		dst = append(dst, " User       Inode     "...)
	}
	if t.Programs {
		dst = append(dst, " PID/Program name    "...)
	}
	if t.Context {
		dst = appendLeft(dst, " Security Context", contextWidth)
	}
	if t.Timers {
		dst = append(dst, " Timer"...)
	}
	return dst
}

// AppendSocket appends the row of a TCP, UDP, UDP-Lite or raw socket.
func (t *SocketText) AppendSocket(dst []byte, s *snapshot.Socket) []byte {
	dst = t.appendColumns(dst, s)
	dst = t.appendSuffix(dst, s.UID, s.Inode)
	dst = t.appendTimers(dst, s)
	return append(dst, '\n')
}

// appendColumns appends the columns that every table has.
func (t *SocketText) appendColumns(dst []byte, s *snapshot.Socket) []byte {
	n := s.Numbers()
	start := len(dst)
	dst = append(dst, protocolLabel(s.Protocol, n.IPv6File)...)
	dst = padTo(dst, start+5)
	dst = appendQueues(dst, int64(s.RecvQ), int64(s.SendQ))
	dst = append(dst, ' ')
	start = len(dst)
	dst = t.appendEndpoint(dst, s.Protocol, s.Local.Addr(), uint16(n.LocalPort))
	dst = append(padTo(dst, start+endpointWidth), ' ')
	start = len(dst)
	dst = t.appendEndpoint(dst, s.Protocol, s.Remote.Addr(), uint16(n.RemotePort))
	dst = append(padTo(dst, start+endpointWidth), ' ')
	start = len(dst)
	dst = appendState(dst, s.Protocol, n.State)
	return padTo(dst, start+stateWidth)
}

// protocolLabel names the protocol of a row as its first column does.
func protocolLabel(p snapshot.Protocol, ipv6 bool) string {
	switch {
	case p == snapshot.Unix:
		return "unix"
	case p == snapshot.TCP && ipv6:
		return "tcp6"
	case p == snapshot.TCP:
		return "tcp"
	case p == snapshot.UDP && ipv6:
		return "udp6"
	case p == snapshot.UDP:
		return "udp"
	case p == snapshot.UDPLite && ipv6:
		return "udpl6"
	case p == snapshot.UDPLite:
		return "udpl"
	case ipv6:
		return "raw6"
	}
	return "raw"
}

// appendQueues appends the two queues, each after a space and six wide.
func appendQueues(dst []byte, queues ...int64) []byte {
	for _, q := range queues {
		dst = append(dst, ' ')
		dst = appendIntRight(dst, q, 6)
	}
	return dst
}

// Netstat cuts what does not fit the endpoint's column, the address first: of
// the port at least these many bytes stay.
const (
	endpointText    = endpointWidth - 1
	endpointPort    = 18
	endpointTextMax = 127 // with -W
)

// appendEndpoint appends an address and port.
func (t *SocketText) appendEndpoint(dst []byte, p snapshot.Protocol, a netip.Addr, port uint16) []byte {
	t.host = t.Names.AppendHost(t.host[:0], a)
	t.port = t.Names.AppendPort(t.port[:0], p, port)
	host, name := t.host, t.port
	if !t.Wide && len(host)+len(name) > endpointText {
		name = name[:min(len(name), endpointPort)]
		host = host[:endpointText-len(name)]
	}
	start := len(dst)
	dst = append(dst, host...)
	dst = append(dst, ':')
	dst = append(dst, name...)
	return dst[:min(len(dst), start+endpointTextMax)]
}

// appendState appends the state of a row. Only TCP has the states; a datagram
// socket is connected or it is not, and a raw one shows its number.
func appendState(dst []byte, p snapshot.Protocol, state uint32) []byte {
	known := snapshot.State(min(state, math.MaxUint8))
	switch {
	case p == snapshot.Raw:
		return strconv.AppendInt(dst, int64(int32(state)), 10)
	case p == snapshot.TCP && state == 0, p != snapshot.TCP && known == snapshot.Close:
		return dst
	case p != snapshot.TCP && known != snapshot.Established:
		return append(dst, "UNKNOWN"...)
	}
	return append(dst, known.String()...)
}

// appendSuffix appends the columns of -e, -p and -Z.
func (t *SocketText) appendSuffix(dst []byte, uid uint32, inode uint64) []byte {
	if t.Extend {
		dst = append(dst, ' ')
		start := len(dst)
		dst = t.Names.AppendUser(dst, uid)
		dst = padTo(dst, start+10)
		dst = append(dst, ' ')
		start = len(dst)
		dst = strconv.AppendUint(dst, inode, 10)
		dst = padTo(dst, start+10)
	}
	return t.appendHolder(dst, inode)
}

// appendHolder appends the columns of -p and -Z.
func (t *SocketText) appendHolder(dst []byte, inode uint64) []byte {
	if !t.Programs {
		return dst
	}
	var p *snapshot.Process
	if t.Owners != nil {
		p = t.Owners.First(inode)
	}
	dst = append(dst, ' ')
	start := len(dst)
	dst = appendProgram(dst, p)
	dst = padTo(dst, start+ownerWidth)
	if t.Context {
		dst = append(dst, ' ')
		dst = appendLeft(dst, contextText(p), contextWidth)
	}
	return dst
}

// Of a command line netstat reads so much, and of the program so much is shown.
const (
	cmdlineText = 511
	programText = 19
)

// appendProgram appends the process id and the name that the process gives
// itself: its first argument, and if that begins with a slash, what follows
// the last one in it. The bytes are raw.
func appendProgram(dst []byte, p *snapshot.Process) []byte {
	if p == nil {
		return append(dst, '-')
	}
	start := len(dst)
	dst = strconv.AppendInt(dst, int64(p.PID), 10)
	dst = append(dst, '/')
	dst = append(dst, programName(p.Cmdline[:min(len(p.Cmdline), cmdlineText)])...)
	return dst[:min(len(dst), start+programText)]
}

// programName returns the name of the program in a command line.
func programName(cmdline string) string {
	name, _, _ := strings.Cut(cmdline, "\x00")
	if len(name) > 0 && name[0] == '/' {
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	return name
}

// contextText returns the SELinux context of a process, or the end of a long one.
func contextText(p *snapshot.Process) string {
	if p == nil || p.Context == "" {
		return "-"
	}
	return p.Context[max(len(p.Context)-contextWidth+1, 0):]
}

// ticksPerSecond is USER_HZ, the unit of timers in proc files.
const ticksPerSecond = 100

// appendTimers appends the column of -o.
func (t *SocketText) appendTimers(dst []byte, s *snapshot.Socket) []byte {
	if !t.Timers {
		return dst
	}
	return appendTimer(append(dst, ' '), s, s.Numbers())
}

// appendTimer appends what -o shows: the kind of timer, the seconds until it
// expires, the retransmits and the zero-window probes sent.
func appendTimer(dst []byte, s *snapshot.Socket, n snapshot.OddNumbers) []byte {
	dst = appendTimerKind(dst, s.Protocol == snapshot.TCP, n.Timer)
	retrans := int64(n.Retrans)
	switch {
	case n.Timer == 0:
		dst = append(dst, " (0.00"...)
	default:
		dst = append(dst, " ("...)
		dst = strconv.AppendFloat(dst, float64(s.Expires)/ticksPerSecond, 'f', 2, 64)
	}
	if s.Protocol == snapshot.UDP || s.Protocol == snapshot.UDPLite {
		retrans = 0
	}
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, retrans, 10)
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, int64(int32(s.Timeout)), 10)
	return append(dst, ')')
}

var (
	tcpTimers   = [...]string{"off", "on", "keepalive", "timewait", "probe"}
	otherTimers = [...]string{"off", "on1", "on2"}
)

// appendTimerKind appends the name of a timer. Sockets other than TCP's do not
// have the kinds, and netstat numbers the first two.
func appendTimerKind(dst []byte, tcp bool, kind uint32) []byte {
	names := tcpTimers[:]
	if !tcp {
		names = otherTimers[:]
	}
	if uint64(kind) < uint64(len(names)) {
		return append(dst, names[kind]...)
	}
	dst = append(dst, "unkn-"...)
	return strconv.AppendInt(dst, int64(int32(kind)), 10)
}
