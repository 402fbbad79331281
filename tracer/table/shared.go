package table

import "github.com/nettrace/nettrace/snapshot"

// shared is what many timewait sockets have in common: whose they are, and where.
type shared struct {
	owner    snapshot.Owner
	workload *snapshot.Workload
	cgroup   uint64
	uid      uint32
	hasUID   bool
	netns    uint32
	device   uint32
}

func sharedOf(r *row) shared {
	return shared{r.Owner, r.Workload, r.CgroupID, r.UID, r.HasUID, r.Netns, r.Device}
}

func (h *shared) give(r *row) {
	r.Owner, r.Workload, r.CgroupID = h.owner, h.workload, h.cgroup
	r.UID, r.HasUID, r.Netns, r.Device = h.uid, h.hasUID, h.netns, h.device
}

// sharings number what is shared by some. The zero value is empty.
type sharings struct {
	list    []sharing
	numbers map[shared]uint32
	free    []uint32
	last    uint32 // that was added: the next one is the same more often than not
}

// sharing is what is shared, and by how many; by none: its number is in free.
type sharing struct {
	shared
	users int
}

// add returns the number of what is shared, for one more user.
func (x *sharings) add(h shared) uint32 {
	if int(x.last) < len(x.list) && x.list[x.last].users > 0 && x.list[x.last].shared == h {
		x.list[x.last].users++
		return x.last
	}
	number, known := x.numbers[h]
	if !known {
		number = x.make(h)
	}
	x.list[number].users++
	x.last = number
	return number
}

// make numbers what nobody has shared yet.
func (x *sharings) make(h shared) uint32 {
	if x.numbers == nil {
		x.numbers = make(map[shared]uint32)
	}
	if len(x.free) == 0 {
		x.free = append(x.free, uint32(len(x.list)))
		x.list = append(x.list, sharing{})
	}
	number := x.free[len(x.free)-1]
	x.free = x.free[:len(x.free)-1]
	x.list[number] = sharing{shared: h}
	x.numbers[h] = number
	return number
}

func (x *sharings) of(number uint32) *shared { return &x.list[number].shared }

// drop says that a number has one user less.
func (x *sharings) drop(number uint32) {
	h := &x.list[number]
	if h.users--; h.users == 0 {
		delete(x.numbers, h.shared)
		*h = sharing{}
		x.free = append(x.free, number)
	}
}
