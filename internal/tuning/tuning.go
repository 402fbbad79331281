// Package tuning sets the Go runtime for what the program is about to do. It is
// the one place where the process as a whole is tuned.
package tuning

import (
	"runtime"
	"runtime/debug"
)

// The parts of the live heap that may be allocated anew before the next
// collection, in percent.
const (
	percentManySockets  = 400
	percentOpening      = 400
	percentInitialTable = 10
	percentChanges      = 20
)

// leastGarbage is how many bytes the stream allocates between two collections where
// percentChanges of the live heap is less: with few connections it is so little that there
// would be a collection every 50 ms under load. A heap that is smaller than leastHeap grows to
// as much.
const leastGarbage = 6 << 20

// leastHeap is the heap before the first collection at 100 % (debug.SetGCPercent).
const leastHeap = 4 << 20

// readers is the number of goroutines that read from the kernel at a time when
// there are many sockets.
const readers = 2

// streamThreads is how many threads of a stream work at a time: one reads the ring, one
// writes, one reads the kernel's table, one collects garbage. On a host of many processors
// collections would take a quarter of them otherwise.
const streamThreads = 4

// ManySockets is for a view of many sockets. The process is soon over: it may
// show 100,000 of them before the first collection, whose threshold is this part
// of 4 MiB. Two goroutines sit in long reads: two more Ps save them the wait for
// one after each read.
func ManySockets() {
	debug.SetGCPercent(percentManySockets)
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + readers)
}

// Opening is for what comes before the stream's initial table. What it allocates is
// short-lived: a collection finds the kernel's types and the programs alive, and takes
// time of the start.
func Opening() {
	runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), streamThreads))
	debug.SetGCPercent(percentOpening)
}

// InitialTable is for the stream's initial table, which is as large as the host
// is busy. Nearly all of the heap will be that table, so memory matters more
// than the time for collections. What opening needed (above all the kernel's
// types) is collected first.
func InitialTable() {
	debug.SetGCPercent(percentInitialTable)
	runtime.GC()
}

// Changes is for the stream after its initial table. Collections are fewer, as
// each one marks the whole table. Each of them sets when the next one comes.
func Changes() {
	debug.SetGCPercent(percentChanges)
	next(percentChanges)
}

// next sets when the next collection comes, by the heap that the last one has left, and does
// so again after that. before is the percentage that was in force.
func next(before int) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	percent := percentFor(m.NextGC * 100 / uint64(100+before))
	if percent != before {
		debug.SetGCPercent(percent)
	}
	type cell struct{ _ *cell } // which nothing refers to: the next collection finds it
	runtime.AddCleanup(new(cell), next, percent)
}

// percentFor returns the part of a live heap that may be allocated before the next collection.
func percentFor(live uint64) int {
	return int(min(max(leastGarbage*100/max(live, 1), percentChanges), leastGarbage*100/leastHeap))
}
