package tracer

import (
	"errors"
	"os"
	"testing"
	"time"
)

// TestScan takes a scan through its states, and looks when the next one is due.
func TestScan(t *testing.T) {
	s := newScan(time.Minute)
	if !s.periodic(1) {
		t.Error("no scan follows the initial one")
	}
	read := make(chan scanResult)
	const start, length = uint64(time.Second), uint64(time.Second)
	s.begin(scanResync, start, func() scanResult { return <-read })
	s.poll()
	if s.state != scanReading {
		t.Errorf("state %v before the iterators are done", s.state)
	}
	read <- scanResult{err: os.ErrClosed}
	for s.poll(); s.state == scanReading; s.poll() {
		time.Sleep(time.Millisecond)
	}
	if s.state != scanRead || !errors.Is(s.result.err, os.ErrClosed) {
		t.Errorf("state %v, error %v", s.state, s.result.err)
	}
	s.next(phaseAsks, func() scanResult { return <-read })
	if s.poll(); s.state != scanReading || s.phase != phaseAsks || s.result.err != nil {
		t.Errorf("state %v, phase %v, error %v in the next phase", s.state, s.phase, s.result.err)
	}
	read <- scanResult{}
	for s.poll(); s.state == scanReading; s.poll() {
		time.Sleep(time.Millisecond)
	}
	now := start + length
	s.end(now)
	if s.state != scanIdle || s.periodic(now) || !s.periodic(now+uint64(time.Minute)) {
		t.Errorf("state %v, and the next one at %d", s.state, s.due)
	}
	if s.nextOwn != now+ownScanRest*length {
		t.Errorf("the table's own scan at %d", s.nextOwn)
	}
	if s = newScan(-1); s.periodic(now) {
		t.Error("a scan without a reason, against the options")
	}
}

// TestScanRequests asks for scans: many requests make one scan, and none is lost.
func TestScanRequests(t *testing.T) {
	s := newScan(-1)
	if s.requested() {
		t.Error("nobody asked")
	}
	s.request()
	s.request()
	s.want(s.requested())
	s.want(s.requested())
	if !s.wanted || s.requested() {
		t.Errorf("wanted: %t, or asked for still", s.wanted)
	}
}

// TestScanPollDecidesNothing has sockets of other protocols, or open files alone, read before the
// scan that is to decide what the last one could not: it stays due.
func TestScanPollDecidesNothing(t *testing.T) {
	s := newScan(-1)
	s.unsettled, s.confirm = true, 5
	for kind, due := range map[scanKind]bool{scanPoll: true, scanResync: false, scanOwners: true, scanInitial: false} {
		s := s
		s.begin(kind, 1, func() scanResult { return scanResult{} })
		if s.unsettled != due || s.confirm > 0 != due {
			t.Errorf("a scan of kind %d leaves unsettled %t, and one to confirm at %d", kind, s.unsettled, s.confirm)
		}
		<-s.done
	}
}

// TestWaitScan has a run that ends when the scan under way has been read already.
func TestWaitScan(t *testing.T) {
	tr := &Tracer{scan: scan{state: scanRead, done: make(chan scanResult, 1)}}
	tr.waitScan() // it would wait for ever, or read the ring that is not there
	tr = &Tracer{scan: scan{state: scanReading, done: make(chan scanResult, 1)}}
	tr.scan.done <- scanResult{err: os.ErrClosed}
	if tr.waitScan(); tr.scan.state == scanReading || !errors.Is(tr.out.err, os.ErrClosed) {
		t.Errorf("state %v, error %v", tr.scan.state, tr.out.err)
	}
}
