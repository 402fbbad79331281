package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// fake is a Target that does what a script says, and keeps what it was given by file.
type fake struct {
	mu     sync.Mutex
	files  []*bytes.Buffer
	script func() action // what the next call does
	room   int
	gate   chan struct{} // a Write waits for it; nil: none does
	closed bool
}

// action is what a call of a fake does.
type action struct {
	begin Begin // of Ready
	short int   // Write takes so many bytes and fails; -1: it takes all
	fail  bool  // Ready fails
}

func (f *fake) Ready(int) (Begin, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.script()
	if a.fail {
		return Goes, fmt.Errorf("open: %w", unix.ENOSPC)
	}
	if len(f.files) == 0 {
		a.begin = Start
	}
	if a.begin != Goes {
		f.files = append(f.files, new(bytes.Buffer))
	}
	return a.begin, nil
}

func (f *fake) Room() int { return f.room }

func (f *fake) Write(lines []byte) (int, error) {
	if f.gate != nil {
		<-f.gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	to := f.files[len(f.files)-1]
	if a := f.script(); a.short >= 0 && a.short < len(lines) {
		to.Write(lines[:a.short])
		return a.short, fmt.Errorf("write: %w", unix.EIO)
	}
	to.Write(lines)
	return len(lines), nil
}

func (f *fake) Close() error {
	f.closed = true
	return nil
}

func (*fake) Retry() time.Duration { return time.Microsecond }

// goes is the script of a target to which nothing happens.
func goes() action { return action{short: -1} }

// reports makes lines as those of the tests.
type reports struct{}

func (reports) Head(why Begin, fileSeq uint64) []byte {
	return fmt.Appendf(nil, "\x00 head %s %d\n", why, fileSeq)
}

func (reports) Lost(l *Loss) []byte {
	return fmt.Appendf(nil, "\x00 lost %d %d %d\n", l.Records, l.States, l.Closes)
}

// arrived is what came, judged line by line: a line that is not whole must be the last
// of its file, and does not count.
type arrived struct {
	lines []string // without their numbers
	heads []string
	lost  Dropped
}

// read checks that lines are whole and their numbers have no holes.
func (f *fake) read(t interface{ Errorf(string, ...any) }) arrived {
	f.mu.Lock()
	defer f.mu.Unlock()
	var got arrived
	seq := 0
	for i, file := range f.files {
		text := file.String()
		whole := text[:strings.LastIndexByte(text, '\n')+1]
		first := true
		for line := range strings.Lines(whole) {
			seq++
			number, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if number != strconv.Itoa(seq) {
				t.Errorf("file %d: line %q, want number %d", i, line, seq)
			}
			kind, args, _ := strings.Cut(rest, " ")
			if (kind == "head") != first {
				t.Errorf("file %d: line %q stands where a head stands, or one stands elsewhere", i, line)
			}
			first = false
			switch kind {
			case "head":
				got.heads = append(got.heads, args)
			case "lost":
				var d Dropped
				if _, err := fmt.Sscan(args, &d.Records, &d.States, &d.Closes); err != nil {
					t.Errorf("%q: %v", line, err)
				}
				got.lost.Records += d.Records
				got.lost.States += d.States
				got.lost.Closes += d.Closes
			default:
				got.lines = append(got.lines, rest)
			}
		}
	}
	return got
}

// drain drains a Sink that can be drained.
func drain(t interface{ Errorf(string, ...any) }, s *Sink) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
}

// TestOnceAndWhole writes lines to a target that fails, takes less than it is given and
// begins anew at random: each admitted line arrives once, whole and in order, and each
// file begins with its head.
func TestOnceAndWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 400), 1, 200).Draw(t, "script")
		at := 0
		f := &fake{room: rapid.SampledFrom([]int{0, 40, 500, 1 << 20}).Draw(t, "room")}
		f.script = func() action {
			a := goes()
			if at < len(steps) { // it must end
				n := steps[at]
				at++
				switch {
				case n < 100:
					a.short = n
				case n < 130:
					a.fail = true
				case n < 160:
					a.begin = Rotate
				}
			}
			return a
		}
		s := New(f, Options{Place: "fake"})
		s.Start(reports{})
		var want []string
		for i := range rapid.IntRange(0, 300).Draw(t, "lines") {
			line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%70))
			want = append(want, line)
			if _, err := fmt.Fprintf(s, "\x00 %s\n", line); err != nil {
				t.Fatalf("%v", err)
			}
		}
		drain(t, s)
		got := f.read(t)
		if strings.Join(got.lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("%d lines arrived, want %d: %q", len(got.lines), len(want), got.lines)
		}
		for i, head := range got.heads {
			if !strings.HasSuffix(head, " "+strconv.Itoa(i+1)) {
				t.Errorf("head %d is %q", i+1, head)
			}
		}
		if stats := s.Stats(); stats.Queue.Bytes != 0 || stats.Queue.Records != 0 || !f.closed {
			t.Errorf("it ends with %+v, closed %v", stats, f.closed)
		}
	})
}

// TestTold fills a queue whose target stalls and goes on: what arrives and what is told
// as lost are what was sent, by kind, and the bound holds.
func TestTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 1 << 20
		gate := make(chan struct{})
		f := &fake{room: 1 << 20, script: goes, gate: gate}
		s := New(f, Options{Place: "fake", Limit: limit})
		s.Start(reports{})
		sent := map[Class]int{}
		kinds := []Class{Transition, Transition, Transition, Close, Row, Service}
		pad := strings.Repeat("x", rapid.IntRange(50, 3000).Draw(t, "length"))
		for i := range rapid.IntRange(0, 4000).Draw(t, "lines") {
			class := kinds[i%len(kinds)]
			sent[class]++
			if !s.Admit(class) {
				continue
			}
			if _, err := fmt.Fprintf(s, "\x00 line %d %s\n", class, pad); err != nil {
				t.Fatalf("%v", err)
			}
		}
		waiting := s.Stats().Queue
		if most := limit + sent[Service]*(len(pad)+20) + len(pad) + 20; int(waiting.Bytes) > most {
			t.Errorf("%d bytes wait, at most %d may", waiting.Bytes, most)
		}
		close(gate)
		if err := s.Settle(); err != nil {
			t.Errorf("%v", err)
		}
		drain(t, s)
		got := f.read(t)
		came := map[Class]int{}
		for _, line := range got.lines {
			n, _ := strconv.Atoi(strings.Fields(line)[1])
			came[Class(n)]++
		}
		rows := int(got.lost.Records - got.lost.States - got.lost.Closes)
		if came[Transition]+int(got.lost.States) != sent[Transition] || came[Close]+int(got.lost.Closes) != sent[Close] ||
			came[Row]+rows != sent[Row] || came[Service] != sent[Service] {
			t.Errorf("came %v, told %+v, sent %v", came, got.lost, sent)
		}
		if got.lost.Closes > 0 && got.lost.States == 0 {
			t.Errorf("closes were dropped before transitions: %v of %v", came, sent)
		}
	})
}

// TestBlock has the maker of lines wait for room: nothing is left out.
func TestBlock(t *testing.T) {
	f := &fake{room: 1 << 20, script: goes, gate: make(chan struct{})}
	s := New(f, Options{Limit: 1 << 20, Block: true})
	s.Start(nil)
	const lines = 3000
	made := make(chan int)
	go func() {
		n := 0
		for ; n < lines && s.Admit(Transition); n++ {
			if _, err := fmt.Fprintf(s, "%d %s\n", n, strings.Repeat("x", 1000)); err != nil {
				t.Error(err)
			}
		}
		made <- n
	}()
	select {
	case <-made:
		t.Error("it does not wait")
	case <-time.After(50 * time.Millisecond):
	}
	close(f.gate)
	if n := <-made; n != lines {
		t.Errorf("%d lines were admitted", n)
	}
	drain(t, s)
	if n := strings.Count(f.files[0].String(), "\n"); n != lines {
		t.Errorf("%d lines arrived", n)
	}
}

// TestRelease ends the waiting of who makes lines for a target that stalls for good.
func TestRelease(t *testing.T) {
	f := &fake{room: 1 << 20, script: goes, gate: make(chan struct{})}
	defer close(f.gate)
	s := New(f, Options{Place: "fake", Limit: 1 << 20, Block: true})
	s.Start(nil)
	over := make(chan struct{})
	go func() {
		for s.Admit(Transition) {
			if _, err := fmt.Fprintf(s, "%s\n", strings.Repeat("x", 1000)); err != nil {
				t.Error(err)
			}
		}
		close(over)
	}()
	time.Sleep(20 * time.Millisecond)
	s.Release()
	<-over
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var left *UndeliveredError
	if err := s.Drain(ctx); !errors.As(err, &left) || left.Records == 0 || left.Place != "fake" {
		t.Errorf("it ends with %v", err)
	}
}

// TestFatal ends with the error of the target, which is told once.
func TestFatal(t *testing.T) {
	told := make(chan error, 10)
	s := New(NewStandard(failing{}, 0, nil), Options{Failed: func(err error) { told <- err }})
	s.Start(nil)
	for range 3 {
		if n, err := s.Write([]byte("line\n")); n != 5 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if err := <-told; !errors.Is(err, unix.EPIPE) {
		t.Errorf("told %v", err)
	}
	if err := s.Drain(t.Context()); !errors.Is(err, unix.EPIPE) || len(told) > 0 {
		t.Errorf("%v, and %d more were told", err, len(told))
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, unix.EPIPE }

// TestPieces writes to a pipe as much as it keeps whole.
func TestPieces(t *testing.T) {
	var sizes pieces
	s := New(NewStandard(&sizes, 4096, nil), Options{})
	s.Start(nil)
	line := strings.Repeat("x", 999) + "\n"
	if _, err := s.Write([]byte(strings.Repeat(line, 50) + strings.Repeat("y", 8000) + "\n")); err != nil {
		t.Error(err)
	}
	drain(t, s)
	sum := 0
	for _, n := range sizes {
		if sum += n; n > 4096 && n != 8001 || n%1000 != 0 && n != 8001 {
			t.Errorf("a piece of %d bytes", n)
		}
	}
	if sum != 58001 {
		t.Errorf("%d bytes came", sum)
	}
}

// TestNoEnd refuses what is not whole lines.
func TestNoEnd(t *testing.T) {
	s := New(NewStandard(io.Discard, 0, nil), Options{Place: "fake"})
	s.Start(nil)
	for _, text := range []string{"line\nrest", "rest"} {
		if n, err := s.Write([]byte(text)); n != 0 || err == nil || !strings.Contains(err.Error(), "fake: the last line has no end") {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	drain(t, s)
}

type pieces []int

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, len(b))
	return len(b), nil
}

// TestOutage tells that nothing can be written, and that it works again, once.
func TestOutage(t *testing.T) {
	var mu sync.Mutex
	var said []string
	bad := true
	f := &fake{room: 1 << 20, script: func() action {
		mu.Lock()
		defer mu.Unlock()
		return action{fail: bad, short: -1}
	}}
	s := New(f, Options{Place: "fake", Notice: func(text string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, text)
	}})
	s.Start(reports{})
	for s.Stats().Written.Errors < 3 {
		time.Sleep(time.Millisecond)
	}
	stats := s.Stats().Written
	if stats.Up || len(stats.ByErrno) != 1 || stats.ByErrno[0].Errno != unix.ENOSPC {
		t.Errorf("meanwhile: %+v", stats)
	}
	mu.Lock()
	bad = false
	mu.Unlock()
	drain(t, s)
	if len(said) != 2 || !strings.Contains(said[0], "no space left on device") || !strings.HasPrefix(said[1], "fake works again") {
		t.Errorf("said: %q", said)
	}
	if !s.Stats().Written.Up {
		t.Error("it is not up")
	}
}

// TestReopen has a target begin anew without a line.
func TestReopen(t *testing.T) {
	f := &reopening{fake: fake{room: 1 << 20}}
	again := false
	f.script = func() action {
		a := goes()
		if again {
			a.begin, again = Reopen, false
		}
		return a
	}
	f.reopen = func() { again = true }
	s := New(f, Options{})
	s.Start(reports{})
	for range 2 {
		for n := s.Stats().Written.Records; s.Stats().Written.Records == n && n == 0; {
			time.Sleep(time.Millisecond)
		}
		s.Reopen()
	}
	for s.Stats().Written.Records < 2 {
		time.Sleep(time.Millisecond)
	}
	drain(t, s)
	if got := f.read(t); len(got.heads) < 2 || got.heads[0] != "start 1" || got.heads[1] != "reopen 2" {
		t.Errorf("heads: %q", got.heads)
	}
}

type reopening struct {
	fake
	reopen func()
}

func (r *reopening) Reopen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reopen()
}

// TestMemory checks that the memory of a stall goes back to the system.
func TestMemory(t *testing.T) {
	gate := make(chan struct{})
	f := &fake{room: 1 << 20, script: goes, gate: gate}
	s := New(f, Options{Limit: 32 << 20})
	s.Start(nil)
	line := []byte(strings.Repeat("x", 699) + "\n")
	for s.Admit(Close) {
		if _, err := s.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	s.queue.mu.Lock()
	chunks := len(s.queue.chunks)
	s.queue.mu.Unlock()
	if took := chunks * chunkSize; took > 33<<20 {
		t.Errorf("the queue takes %d bytes", took)
	}
	close(gate)
	for s.Stats().Queue.Bytes > 0 {
		time.Sleep(time.Millisecond)
	}
	s.queue.mu.Lock()
	if len(s.queue.chunks) > 0 || len(s.queue.free) > looseChunks {
		t.Errorf("%d chunks are used and %d kept", len(s.queue.chunks), len(s.queue.free))
	}
	s.queue.mu.Unlock()
	for end := time.Now().Add(time.Minute); s.queue.canShrink() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if s.queue.canShrink() {
		t.Error("the memory is kept though nothing comes")
	}
	drain(t, s)
}

func BenchmarkLine(b *testing.B) {
	s := New(NewStandard(&discard{}, 0, nil), Options{Block: true})
	s.Start(nil)
	var lines []byte
	for range 120 { // as many as an encoder buffers
		lines = append(lines, "{\"timestamp\":\"2026-11-24T12:00:00.000000Z\",\"v\":1,\"event\":\"tcp_state\",\"seq\":\x00,"+strings.Repeat("x", 450)+"\n"...)
	}
	b.SetBytes(int64(len(lines)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Write(lines); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (*discard) Write(b []byte) (int, error) { return len(b), nil }
