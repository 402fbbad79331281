package table

// cells are values without pointers, by number. They lie in blocks, which stay where they
// are, and which the collector passes over. The zero value is empty.
type cells[T any] struct {
	blocks [][]T
	free   []uint32 // numbers that are not in use
}

const cellBlock = 256 // of timewaits and addressPairs, that are sizes which the allocator has

// at returns the value of a number. The pointer stays valid.
func (c *cells[T]) at(number uint32) *T { return &c.blocks[number/cellBlock][number%cellBlock] }

// take returns a number that is not in use, whose value is zero.
func (c *cells[T]) take() uint32 {
	if len(c.free) == 0 {
		first := uint32(len(c.blocks) * cellBlock)
		c.blocks = append(c.blocks, make([]T, cellBlock))
		for i := range uint32(cellBlock) {
			c.free = append(c.free, first+cellBlock-1-i)
		}
	}
	last := len(c.free) - 1
	number := c.free[last]
	c.free = c.free[:last]
	return number
}

// drop gives a number back.
func (c *cells[T]) drop(number uint32) {
	var zero T
	*c.at(number) = zero
	c.free = append(c.free, number)
}
