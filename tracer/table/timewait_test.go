package table

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
)

// drawTimewait returns a row that rests, with any value in each field that may have one.
func drawTimewait(t *rapid.T) row {
	number := rapid.Uint64Range(1, 1<<64-1)
	port := rapid.Uint16Range(1, 1<<16-1)
	var r row
	r.stage, r.State, r.miniState, r.firstSeen = stageTimewait, snapshot.TimeWait, snapshot.TimeWait, snapshot.TimeWait
	r.ID, r.Cookie, r.mini = number.Draw(t, "id"), number.Draw(t, "cookie"), number.Draw(t, "mini")
	r.Start, r.Established, r.last = number.Draw(t, "start"), number.Draw(t, "established"), number.Draw(t, "last")
	local, remote := drawAddr(t), drawAddr(t)
	if local.Is4() != remote.Is4() {
		remote = local
	}
	r.Local, r.Remote = netip.AddrPortFrom(local, port.Draw(t, "local")), netip.AddrPortFrom(remote, port.Draw(t, "remote"))
	r.UID, r.HasUID = rapid.Uint32().Draw(t, "uid"), rapid.Bool().Draw(t, "has uid")
	r.Netns, r.Device, r.CgroupID = rapid.Uint32().Draw(t, "netns"), rapid.Uint32().Draw(t, "device"), number.Draw(t, "cgroup")
	r.Owner = snapshot.Owner{Process: new(snapshot.Process), TID: 7, Thread: [16]byte{'t'}, Source: snapshot.OwnerFiles}
	r.Workload = new(snapshot.Workload)
	r.Direction = Direction(rapid.IntRange(0, int(Incoming)).Draw(t, "direction"))
	r.closedBy = Side(rapid.IntRange(0, int(Remote)).Draw(t, "closed by"))
	r.StartKnown, r.absent = rapid.Bool().Draw(t, "start known"), rapid.Bool().Draw(t, "absent")
	for range rapid.IntRange(0, historyMax).Draw(t, "states") {
		r.History.Add(snapshot.State(rapid.IntRange(1, 12).Draw(t, "state")))
	}
	return r
}

func drawAddr(t *rapid.T) netip.Addr {
	a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")))
	switch rapid.IntRange(0, 2).Draw(t, "family") {
	case 0:
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[:4]))
	case 1:
		return netip.MustParseAddr("::ffff:127.0.0.1")
	}
	return a
}

// TestTimewaitFields fails where a row has a field that it did not have when timewait was
// written.
func TestTimewaitFields(t *testing.T) {
	kept := []string{
		"ID", "Cookie", "mini", "Start", "Established", "last", "Local", "Remote", "History", "StartKnown", "absent", "Direction", "closedBy",
		"Owner", "Workload", "CgroupID", "UID", "HasUID", "Netns", "Device",
		"scan", // the last one at least
	}
	alike := []string{ // in all rows that rest, or of no use any more
		"State", "miniState", "stage", "dying", "ending", "listener", "awaitsPort", "account", "Protocol", "Inode", "RecvQ", "SendQ", "key",
		"firstSeen", "listed",
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[row]()) {
		if !f.Anonymous && !slices.Contains(kept, f.Name) && !slices.Contains(alike, f.Name) {
			t.Errorf("a row has %s: timewait must keep it, or rests ask for its value", f.Name)
		}
	}
}

// TestTimewaitKeepsAll packs a row and unpacks it.
func TestTimewaitKeepsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawTimewait(t)
		if !r.rests() {
			t.Fatalf("%+v does not rest", r)
		}
		var w timewaits
		number := w.take(&r)
		var got row
		w.give(number, &got)
		equal := cmp.Options{
			cmp.AllowUnexported(row{}, marks{}, History{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
			cmpopts.EquateComparable(snapshot.Owner{}),
		}
		if diff := cmp.Diff(r, got, equal); diff != "" {
			t.Fatalf("(-before +after):\n%s", diff)
		}
	})
}

// TestSlots compares a table with a map, where many hashes have the same home.
func TestSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x slots
		hashes := make(map[uint32]uint64) // by number
		for number := range uint32(rapid.IntRange(0, 300).Draw(t, "steps")) {
			hash := rapid.Uint64Range(0, 40).Draw(t, "hash") << rapid.SampledFrom([]int{0, 32}).Draw(t, "half")
			if rapid.IntRange(0, 3).Draw(t, "remove") > 0 || len(hashes) == 0 {
				x.add(hash, number)
				hashes[number] = hash
			} else {
				gone := rapid.SampledFrom(sortedNumbers(hashes)).Draw(t, "gone")
				x.remove(hashes[gone], gone)
				delete(hashes, gone)
			}
		}
		if x.n != len(hashes) {
			t.Fatalf("%d numbers, want %d", x.n, len(hashes))
		}
		for number := range uint32(300) {
			hash, want := hashes[number]
			found, ok := x.find(hash, func(n uint32) bool { return n == number })
			if ok != want || ok && found != number {
				t.Fatalf("%d at %x: found %d, %v, want %v", number, hash, found, ok, want)
			}
		}
	})
}

func sortedNumbers(of map[uint32]uint64) (numbers []uint32) {
	for number := range uint32(300) {
		if _, ok := of[number]; ok {
			numbers = append(numbers, number)
		}
	}
	return numbers
}
