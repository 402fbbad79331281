package sink

import (
	"math/rand/v2"
	"time"
)

// Pauses between attempts to connect: each is twice as long as the one before. To each
// comes up to a quarter by chance, so that the hosts that lost a peer at one moment do
// not come back at one.
const (
	pauseLeast = 500 * time.Millisecond
	pauseMost  = 24 * time.Second // 30 s with what chance adds
	pausePart  = 4
)

// backoff says when to try again. The zero value is before the first failure.
type backoff struct {
	pause time.Duration // the last one, without what chance added
	next  time.Time
}

// failed sets the next attempt.
func (b *backoff) failed(now time.Time) {
	b.pause = min(max(2*b.pause, pauseLeast), pauseMost)
	b.next = now.Add(b.pause + rand.N(b.pause/pausePart))
}

// remaining returns how long it is until the next attempt.
func (b *backoff) remaining(now time.Time) time.Duration { return max(b.next.Sub(now), 0) }
