package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// startup is one start of a tracer while connections are made.
type startup struct {
	snapshot time.Duration // from exec to the end of the initial table; 0: it has none
	event    time.Duration // from exec to the first transition that can be read
}

// starting is a tracer, and how its output is read line by line.
type starting struct {
	*peer
	before              []string // words before the command that make it flush each line
	isSnapshot, isEvent func(line []byte) bool
}

var startings = []starting{
	{
		peer:       nettrace,
		isSnapshot: func(line []byte) bool { return bytes.Contains(line, []byte(`"event":"snapshot_end"`)) },
		isEvent:    func(line []byte) bool { return bytes.Contains(line, []byte(`"event":"tcp_state"`)) },
	},
	{
		peer:       tcpstates,
		before:     []string{"stdbuf", "-oL"},
		isSnapshot: func([]byte) bool { return false },
		isEvent: func(line []byte) bool {
			_, _, ours := parseLine(line)
			return ours
		},
	},
}

// start measures the time from exec to the first transition reported.
func (b *bench) start(ctx context.Context) error {
	results := make(map[*peer][]startup)
	for round := range b.rounds {
		for _, st := range startings {
			took, err := b.startup(ctx, st)
			if err != nil {
				return err
			}
			b.progress("start, round %d of %d: %s, first event after %v", round+1, b.rounds, st.name, took.event.Round(time.Millisecond))
			results[st.peer] = append(results[st.peer], took)
		}
	}
	snapshot := func(s startup) float64 { return float64(s.snapshot) }
	event := func(s startup) float64 { return float64(s.event) }
	first := medianOf(results[nettrace], event)
	b.report.table(fmt.Sprintf("The start, while connections are made, %d rounds", b.rounds),
		[]string{"", "nettrace", "tcpstates", "budget", ""},
		[][]string{
			{"from exec to the end of the initial table", milliseconds(medianOf(results[nettrace], snapshot)), "none"},
			append([]string{"from exec to the first transition told", milliseconds(first), milliseconds(medianOf(results[tcpstates], event))},
				b.report.budget(first, float64(150*time.Millisecond), "150 ms")...),
		})
	return nil
}

// startup starts a tracer while a client connects to a closed port at full speed,
// and ends it after the first transition that it reports.
func (b *bench) startup(ctx context.Context, st starting) (took startup, err error) {
	s, err := newScene()
	if err != nil {
		return took, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	const enough = 1_000_000 // killed long before
	client, err := load.Start(load.Client(firstConnection, enough, load.Refused), s.path)
	if err != nil {
		return took, err
	}
	defer func() { err = errors.Join(err, client.Kill()) }()
	if err := client.Go(); err != nil {
		return took, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	args := slices.Concat(st.before, st.command(b, s))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return took, err
	}
	begin := time.Now()
	if err := st.launch(cmd); err != nil {
		return took, err
	}
	readErr := took.read(out, st, begin)
	if readErr != nil {
		return took, errors.Join(fmt.Errorf("%s: %w: %s", st.name, readErr, stderr.Bytes()), cmd.Process.Kill(), cmd.Wait())
	}
	// It still writes to a pipe that nobody reads, so an interrupt would not end it.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return took, nil
}

// read reads until the first transition.
func (s *startup) read(out io.Reader, st starting, begin time.Time) error {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		switch line := lines.Bytes(); {
		case st.isSnapshot(line):
			s.snapshot = time.Since(begin)
		case st.isEvent(line):
			s.event = time.Since(begin)
			return nil
		}
	}
	return errors.Join(errors.New("it told no transition"), lines.Err())
}
