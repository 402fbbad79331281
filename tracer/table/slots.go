package table

// slots are a hash table of numbers, by a hash of what they stand for. It is without
// pointers, and takes half the memory of a map. The zero value is empty.
//
// Each number is in the first free slot from that of its hash on: between the two none is
// free. A slot has the lower half of the hash beside the number, so that the table can
// move without looking at what the numbers stand for.
type slots struct {
	table []slot // a power of two of them
	n     int
}

// slot is half a hash and a number + 1; 0: it is free.
type slot uint64

func makeSlot(hash uint64, number uint32) slot { return slot(hash<<32 | uint64(number) + 1) }

func (s slot) number() uint32 { return uint32(s) - 1 }

// home is where a slot would be if all were free.
func (x *slots) home(s slot) int { return int(uint64(s)>>32) & (len(x.table) - 1) }

func (x *slots) next(i int) int { return (i + 1) & (len(x.table) - 1) }

// add adds a number, which must not be there under this hash.
func (x *slots) add(hash uint64, number uint32) {
	if x.n >= len(x.table)/4*3 {
		x.grow()
	}
	x.insert(makeSlot(hash, number))
	x.n++
}

func (x *slots) insert(s slot) {
	i := x.home(s)
	for x.table[i] != 0 {
		i = x.next(i)
	}
	x.table[i] = s
}

func (x *slots) grow() {
	old := x.table
	x.table = make([]slot, max(64, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			x.insert(s)
		}
	}
}

// find returns a number with a hash for which is reports true.
func (x *slots) find(hash uint64, is func(number uint32) bool) (number uint32, found bool) {
	if x.n == 0 {
		return 0, false
	}
	want := makeSlot(hash, 0)
	for i := x.home(want); x.table[i] != 0; i = x.next(i) {
		if s := x.table[i]; s>>32 == want>>32 && is(s.number()) {
			return s.number(), true
		}
	}
	return 0, false
}

// remove takes out a number that is there under this hash, and moves those up that its
// slot kept from theirs.
func (x *slots) remove(hash uint64, number uint32) {
	gone := makeSlot(hash, number)
	i := x.home(gone)
	for x.table[i] != gone {
		i = x.next(i)
	}
	for j := x.next(i); x.table[j] != 0; j = x.next(j) {
		mask := len(x.table) - 1
		if away := (j - x.home(x.table[j])) & mask; away >= (j-i)&mask {
			x.table[i] = x.table[j]
			i = j
		}
	}
	x.table[i] = 0
	x.n--
}
