package output

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/nettrace/nettrace/snapshot"
)

// InterfaceText writes netstat's text of interfaces, byte for byte. Rows are
// appended to a buffer of the caller.
type InterfaceText struct {
	Long bool // -e: a paragraph for each instead of a row
}

// AppendTitle appends the line above the view.
func (t *InterfaceText) AppendTitle(dst []byte) []byte {
	return append(dst, "Kernel Interface table\n"...)
}

// AppendColumns appends the names of the columns, which paragraphs do not have.
func (t *InterfaceText) AppendColumns(dst []byte) []byte {
	if t.Long {
		return dst
	}
	return append(dst, "Iface             MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg\n"...)
}

// AppendInterface appends the row or the paragraph of an interface.
func (t *InterfaceText) AppendInterface(dst []byte, i *snapshot.Interface) []byte {
	shown := *i
	hide15(&shown)
	r := tableRow(dst)
	if t.Long {
		r.paragraph(&shown)
	} else {
		r.interfaceRow(&shown)
	}
	return r.line()
}

// hide15 does what Debian's net-tools does to an interface whose name has 15
// bytes: it loses the counters and shows zeros.
func hide15(i *snapshot.Interface) {
	if len(i.Name) == 15 && i.Counters != nil {
		i.Counters = &snapshot.InterfaceCounters{}
	}
}

// flagName is how a flag of an interface is printed.
type flagName struct {
	flag snapshot.InterfaceFlags
	name string
}

var interfaceLetters = []flagName{
	{snapshot.InterfaceAllMulti, "A"},
	{snapshot.InterfaceBroadcast, "B"},
	{snapshot.InterfaceDebug, "D"},
	{snapshot.InterfaceLoopback, "L"},
	{snapshot.InterfaceMulticast, "M"},
	{snapshot.InterfaceDynamic, "d"},
	{snapshot.InterfacePromisc, "P"},
	{snapshot.InterfaceNoTrailers, "N"},
	{snapshot.InterfaceNoARP, "O"},
	{snapshot.InterfacePointToPoint, "P"},
	{snapshot.InterfaceSlave, "s"},
	{snapshot.InterfaceMaster, "m"},
	{snapshot.InterfaceRunning, "R"},
	{snapshot.InterfaceUp, "U"},
}

func (r *tableRow) interfaceRow(i *snapshot.Interface) {
	r.left(cut15(i.Name), 15)
	r.text(" ")
	r.rightInt(int64(i.MTU), 5)
	r.text(" ")
	if c := i.Counters; c != nil {
		r.counters(c.RxPackets, c.RxErrors, c.RxDropped)
		r.left(strconv.FormatUint(c.RxFIFO, 10), 6)
		r.text(" ")
		r.counters(c.TxPackets, c.TxErrors, c.TxDropped)
		r.right(strconv.FormatUint(c.TxFIFO, 10), 6)
		r.text(" ")
	} else {
		r.left("     - no statistics available -", 56)
	}
	if i.Flags == 0 {
		r.text("[NO FLAGS]")
	}
	for _, l := range interfaceLetters {
		if i.Flags&l.flag != 0 {
			r.text(l.name)
		}
	}
}

// counters adds the columns that have one form for both directions.
func (r *tableRow) counters(packets, errs, dropped uint64) {
	r.right(strconv.FormatUint(packets, 10), 8)
	r.text(" ")
	r.right(strconv.FormatUint(errs, 10), 6)
	r.text(" ")
	r.right(strconv.FormatUint(dropped, 10), 6)
	r.text(" ")
}

var interfaceNames = []flagName{
	{snapshot.InterfaceUp, "UP"},
	{snapshot.InterfaceBroadcast, "BROADCAST"},
	{snapshot.InterfaceDebug, "DEBUG"},
	{snapshot.InterfaceLoopback, "LOOPBACK"},
	{snapshot.InterfacePointToPoint, "POINTOPOINT"},
	{snapshot.InterfaceNoTrailers, "NOTRAILERS"},
	{snapshot.InterfaceRunning, "RUNNING"},
	{snapshot.InterfaceNoARP, "NOARP"},
	{snapshot.InterfacePromisc, "PROMISC"},
	{snapshot.InterfaceAllMulti, "ALLMULTI"},
	{snapshot.InterfaceSlave, "SLAVE"},
	{snapshot.InterfaceMaster, "MASTER"},
	{snapshot.InterfaceMulticast, "MULTICAST"},
	{snapshot.InterfaceDynamic, "DYNAMIC"},
}

// paragraph adds an interface as -ie shows it. The empty line after it is missing.
func (r *tableRow) paragraph(i *snapshot.Interface) {
	r.headLine(i)
	r.newline()
	if i.Addr.IsValid() {
		r.inetLine(i)
		r.newline()
	}
	for n := range i.Addrs6 {
		r.inet6Line(&i.Addrs6[n])
		r.newline()
	}
	r.hardwareLine(i)
	r.newline()
	if i.Flags&snapshot.InterfacePortSel != 0 {
		r.mediaLine(i)
		r.newline()
	}
	if i.Counters != nil {
		r.receivedLines(i)
		r.sentLines(i)
	}
	if m := &i.Map; m.IRQ != 0 || m.MemStart != 0 || m.DMA != 0 || m.BaseAddr >= 0x100 {
		r.deviceLine(m)
		r.newline()
	}
}

func (r *tableRow) headLine(i *snapshot.Interface) {
	r.text(i.Name)
	r.text(": flags=")
	if i.Flags == 0 {
		r.text("0<")
	} else {
		r.leftInt(int64(int16(i.Flags)), 0)
		r.text(bracketed(flagNames(i.Flags)))
	}
	r.text("  mtu ")
	r.leftInt(int64(i.MTU), 0)
	if i.OutFill != 0 || i.KeepAlive != 0 {
		r.text("  outfill ")
		r.leftInt(int64(i.OutFill), 0)
		r.text("  keepalive ")
		r.leftInt(int64(i.KeepAlive), 0)
	}
}

func flagNames(flags snapshot.InterfaceFlags) (names []string) {
	for _, l := range interfaceNames {
		if flags&l.flag != 0 {
			names = append(names, l.name)
		}
	}
	return names
}

// bracketed lists names in angle brackets, and is empty without any.
func bracketed(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "<" + strings.Join(names, ",") + ">"
}

func (r *tableRow) inetLine(i *snapshot.Interface) {
	r.text("        inet ")
	r.text(setText(i.Addr))
	r.text("  netmask ")
	r.text(setText(i.Netmask))
	if i.Flags&snapshot.InterfaceBroadcast != 0 {
		r.text("  broadcast ")
		r.text(setText(i.Broadcast))
	}
	if i.Flags&snapshot.InterfacePointToPoint != 0 {
		r.text("  destination ")
		r.text(setText(i.PeerAddr))
	}
}

func setText(a netip.Addr) string {
	if !a.IsValid() {
		return "[NONE SET]"
	}
	return a.String()
}

func (r *tableRow) inet6Line(a *snapshot.InterfaceAddr6) {
	r.text("        inet6 ")
	r.text(addrText(a.Addr))
	r.text("  prefixlen ")
	r.leftInt(int64(a.PrefixLen), 0)
	r.text("  scopeid 0x")
	r.text(strconv.FormatUint(uint64(a.Scope), 16))
	var names []string
	if a.Scope&snapshot.ScopeCompatV4 != 0 {
		names = append(names, "compat")
	}
	if a.Scope&^snapshot.ScopeCompatV4 == snapshot.ScopeGlobal {
		names = append(names, "global")
	}
	if a.Scope&snapshot.ScopeLink != 0 {
		names = append(names, "link")
	}
	if a.Scope&snapshot.ScopeSite != 0 {
		names = append(names, "site")
	}
	if a.Scope&snapshot.ScopeHost != 0 {
		names = append(names, "host")
	}
	r.text(bracketed(names))
}

func (r *tableRow) hardwareLine(i *snapshot.Interface) {
	hw := hardwareOf(i.HWType)
	r.text("        ")
	r.text(hw.name)
	if hw.addr != nil {
		r.text(" ")
		r.text(hw.addr(i.HWAddr[:8]))
	}
	if i.TxQueueLen != -1 {
		r.text("  txqueuelen ")
		r.leftInt(int64(i.TxQueueLen), 0)
	}
	r.text("  (" + hw.title + ")")
}

// mediaNames are the ports of an interface (enum in include/uapi/linux/netdevice.h).
var mediaNames = []string{"unknown", "10base2", "10baseT", "AUI", "100baseT", "100baseTX", "100baseFX"}

func (r *tableRow) mediaLine(i *snapshot.Interface) {
	r.text("        media ")
	if int(i.Map.Port) < len(mediaNames) {
		r.text(mediaNames[i.Map.Port])
	} else {
		r.text(mediaNames[0])
	}
	if i.Flags&snapshot.InterfaceAutoMedia != 0 {
		r.text("autoselect")
	}
}

func (r *tableRow) receivedLines(i *snapshot.Interface) {
	c := i.Counters
	r.trafficLine("RX", c.RxPackets, c.RxBytes)
	if compresses(i.HWType) {
		r.uint("        RX compressed:", c.RxCompressed)
		r.newline()
	}
	r.text("        RX")
	r.uint(" errors ", c.RxErrors)
	r.uint("  dropped ", c.RxDropped)
	r.uint("  overruns ", c.RxFIFO)
	r.uint("  frame ", c.RxFrame)
	r.newline()
}

func (r *tableRow) sentLines(i *snapshot.Interface) {
	c := i.Counters
	r.trafficLine("TX", c.TxPackets, c.TxBytes)
	if compresses(i.HWType) {
		r.uint("        TX compressed ", c.TxCompressed)
		r.newline()
	}
	r.text("        TX")
	r.uint(" errors ", c.TxErrors)
	r.uint("  dropped ", c.TxDropped)
	r.uint(" overruns ", c.TxFIFO)
	r.uint("  carrier ", c.TxCarrier)
	r.uint("  collisions ", c.Collisions)
	r.newline()
}

func (r *tableRow) trafficLine(direction string, packets, bytes uint64) {
	r.text("        " + direction)
	r.uint(" packets ", packets)
	r.uint("  bytes ", bytes)
	r.text(" (" + byteText(bytes) + ")")
	r.newline()
}

var byteUnits = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// byteText spells bytes in the largest unit that they exceed, with one digit
// after the point, not rounded. Of exbibytes netstat counts tenths that are a
// little too small.
func byteText(bytes uint64) string {
	unit := 0
	for unit+1 < len(byteUnits) && bytes > 1<<(10*(unit+1)) {
		unit++
	}
	size := uint64(1) << (10 * unit)
	tenths := bytes * 10 / size
	if unit == len(byteUnits)-1 {
		tenths = bytes / (size / 10)
	}
	return strconv.FormatUint(tenths/10, 10) + "." + strconv.FormatUint(tenths%10, 10) + " " + byteUnits[unit]
}

func (r *tableRow) deviceLine(m *snapshot.InterfaceMap) {
	r.text("        device ")
	if m.IRQ != 0 {
		r.uint("interrupt ", uint64(m.IRQ))
		r.text("  ")
	}
	if m.BaseAddr >= 0x100 {
		r.text("base 0x" + strconv.FormatUint(uint64(m.BaseAddr), 16) + "  ")
	}
	if m.MemStart != 0 {
		r.text("memory 0x" + strconv.FormatUint(m.MemStart, 16) + "-" + strconv.FormatUint(m.MemEnd, 16) + "  ")
	}
	if m.DMA != 0 {
		r.text("  dma 0x" + strconv.FormatUint(uint64(m.DMA), 16))
	}
}
