package output

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// Interface appends the "interface" record of a row of the interface view.
func (w interfaceRecords) Interface(at time.Time, i *snapshot.Interface) {
	w.beginAt("interface", at)
	w.str(`,"iface":`, i.Name, nameMax)
	w.uint(`,"flag_bits":`, uint64(i.Flags))
	w.word(`,"flags":`, strings.Join(flagNames(i.Flags), ","))
	w.uint(`,"mtu_bytes":`, uint64(uint32(i.MTU)))
	w.hardware(i)
	if i.TxQueueLen != -1 {
		w.uint(`,"tx_queue_len":`, uint64(uint32(i.TxQueueLen)))
	}
	w.known(`,"addr":`, i.Addr)
	w.known(`,"netmask":`, i.Netmask)
	w.known(`,"broadcast":`, i.Broadcast)
	w.known(`,"peer_addr":`, i.PeerAddr)
	w.resources(&i.Map)
	w.positive(`,"keepalive_s":`, i.KeepAlive)
	w.positive(`,"outfill_s":`, i.OutFill)
	if i.Counters != nil {
		w.interfaceCounters(i.Counters)
	}
	w.addrs4(i.Addrs4)
	w.addrs6(i.Addrs6)
	w.end()
}

// known adds an address if there is one.
func (w interfaceRecords) known(key string, a netip.Addr) {
	if a.IsValid() {
		w.addr(key, a)
	}
}

// hardware adds the kind of link and, for a kind that has addresses of a known
// form, the address as netstat spells it.
func (w interfaceRecords) hardware(i *snapshot.Interface) {
	w.uint(`,"hw_type":`, uint64(i.HWType))
	hw := hardwareOf(i.HWType)
	w.word(`,"hw_name":`, hw.name)
	if _, known := hardwares[i.HWType]; known && hw.addr != nil {
		w.str(`,"hw_addr":`, hw.addr(i.HWAddr[:]), nameMax)
	}
}

// resources adds what an old card uses of its machine.
func (w interfaceRecords) resources(m *snapshot.InterfaceMap) {
	for _, r := range [...]struct {
		key   string
		value uint64
	}{
		{`,"irq":`, uint64(m.IRQ)},
		{`,"dma":`, uint64(m.DMA)},
		{`,"port":`, uint64(m.Port)},
		{`,"base_addr":`, uint64(m.BaseAddr)},
		{`,"mem_start":`, m.MemStart},
		{`,"mem_end":`, m.MemEnd},
	} {
		w.nonzero(r.key, r.value)
	}
}

func (w interfaceRecords) interfaceCounters(c *snapshot.InterfaceCounters) {
	w.uint(`,"rx_packets":`, c.RxPackets)
	w.uint(`,"rx_bytes":`, c.RxBytes)
	w.uint(`,"rx_errors":`, c.RxErrors)
	w.uint(`,"rx_dropped":`, c.RxDropped)
	w.uint(`,"rx_overruns":`, c.RxFIFO)
	w.uint(`,"rx_frame":`, c.RxFrame)
	w.uint(`,"rx_compressed":`, c.RxCompressed)
	w.uint(`,"rx_multicast":`, c.RxMulti)
	w.uint(`,"tx_packets":`, c.TxPackets)
	w.uint(`,"tx_bytes":`, c.TxBytes)
	w.uint(`,"tx_errors":`, c.TxErrors)
	w.uint(`,"tx_dropped":`, c.TxDropped)
	w.uint(`,"tx_overruns":`, c.TxFIFO)
	w.uint(`,"tx_carrier":`, c.TxCarrier)
	w.uint(`,"tx_collisions":`, c.Collisions)
	w.uint(`,"tx_compressed":`, c.TxCompressed)
}

// addrs4 adds all IPv4 addresses, as many as the line takes, each with the length
// of its prefix.
func (w interfaceRecords) addrs4(addrs []netip.Prefix) {
	if len(addrs) == 0 {
		return
	}
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	w.array(`,"addrs4":`, words, `"`, lineMax/4)
}

// addrs6 adds the IPv6 addresses, as many as the line takes, each with the
// length of its prefix.
func (w interfaceRecords) addrs6(addrs []snapshot.InterfaceAddr6) {
	if len(addrs) == 0 {
		return
	}
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.Addr.String() + "/" + strconv.Itoa(int(a.PrefixLen))
	}
	w.array(`,"addrs6":`, words, `"`, lineMax)
}
