package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// levers are the ways to say less, each a part of a command line.
var levers = [][]string{
	{},
	{"-p"},
	{"--schema", "ecs"},
	{"--sample", "1/10"},
	{"--filter", fmt.Sprintf("port %d", load.ClosedPort)},
	{"--events=close"},
	{"--events=close", "--schema", "ecs"},
	{"--events=close", "--fields", "run_id,host,conn_id,local,remote,direction,comm,uid,outcome,duration_ns,established_ns,bytes_sent,bytes_received"},
	{"--events=close", "--fields", "run_id,host,remote,direction,comm,outcome"},
	{"--events=close", "--sample", "1/10"},
	{"--events=failed"},
	{"--summary=comm,direction,outcome"},
	{"--filter", "direction outgoing", "--summary=comm,remote_addr/24,remote_port,outcome"},
}

// Of so many connections of the mix one is refused, and a third of the rest is reset.
const refusedOf = 25

// volume is what one round of a lever gave.
type volume struct {
	churn
	records, bytes, zipped int
	losses                 int // records that say that events were lost
}

func (v volume) bytesPerConnection() float64   { return float64(v.bytes) / float64(v.connections) }
func (v volume) zippedPerConnection() float64  { return float64(v.zipped) / float64(v.connections) }
func (v volume) recordsPerConnection() float64 { return float64(v.records) / float64(v.connections) }

// levers measures what each lever leaves of the records, and of their cost.
func (b *bench) levers(ctx context.Context) error {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("count the run time of BPF programs: %w", err)
	}
	defer stats.Close()
	rounds := make([][]volume, len(levers))
	for round := range b.rounds {
		for i, args := range levers {
			v, err := b.lever(ctx, args)
			if err != nil {
				return fmt.Errorf("%v: %w", args, err)
			}
			b.progress("levers, round %d of %d: %s, %s bytes a connection", round+1, b.rounds, leverName(args), number(v.bytesPerConnection()))
			rounds[i] = append(rounds[i], v)
		}
	}
	b.reportLevers(rounds)
	return nil
}

func leverName(args []string) string {
	if len(args) == 0 {
		return "all"
	}
	words := slices.Clone(args)
	for i, word := range words {
		if strings.Contains(word, " ") {
			words[i] = "'" + word + "'"
		}
	}
	return strings.Join(words, " ")
}

// leverPeer is nettrace with a lever.
func leverPeer(args []string) *peer {
	p := *nettrace
	p.command = func(b *bench, s *scene) []string {
		return append([]string{b.nettrace, "-c", "--json", "--require-bpf", "--netns", s.path}, args...)
	}
	p.ready = func(pid int, out []byte) bool {
		// A summary says nothing before its end.
		return bytes.Contains(out, []byte(`"snapshot_end"`)) || len(out) > 0 && strings.Contains(leverName(args), "--summary")
	}
	return &p
}

// lever runs one round.
func (b *bench) lever(ctx context.Context, args []string) (v volume, err error) {
	s, err := newScene()
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.start(load.Server()); err != nil {
		return v, err
	}
	t, err := b.trace(ctx, leverPeer(args), s)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, t.end()) }()
	before, err := os.ReadFile(t.path)
	if err != nil {
		return v, err
	}
	v.connections = b.connections / (refusedOf * 3 * clients) * (refusedOf * 3 * clients)
	if err := v.measure(ctx, t, s.connectMix); err != nil {
		return v, err
	}
	if err := t.end(); err != nil {
		return v, err
	}
	err = v.weigh(t.path, len(before))
	return v, err
}

// connectMix makes connections of which a few are refused and a third of the rest is
// reset. The others end by FIN.
func (s *scene) connectMix(first, count int) (took time.Duration, err error) {
	refused := count / refusedOf
	reset := (count - refused) / 3 / clients * clients
	for _, part := range []struct {
		count  int
		ending load.Ending
	}{{refused, load.Refused}, {reset, load.RST}, {count - refused - reset, load.FIN}} {
		d, err := s.connect(first, part.count, part.ending)
		if err != nil {
			return took, err
		}
		first, took = first+part.count, took+d
	}
	return took, nil
}

// weigh reads what was written after the first bytes of a file.
func (v *volume) weigh(path string, after int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b = b[after:]
	v.bytes, v.records = len(b), bytes.Count(b, []byte("\n"))
	v.losses = bytes.Count(b, []byte(`"event":"lost"`)) + bytes.Count(b, []byte(`"event.action":"lost"`))
	var zipped count
	z, err := gzip.NewWriterLevel(&zipped, 6)
	if err != nil {
		return err
	}
	_, err = z.Write(b)
	err = errors.Join(err, z.Close())
	v.zipped = int(zipped)
	return err
}

// count counts the bytes that are written to it.
type count int

var _ io.Writer = new(count)

func (c *count) Write(b []byte) (int, error) {
	*c += count(len(b))
	return len(b), nil
}

func (b *bench) reportLevers(rounds [][]volume) {
	var rows [][]string
	losses := 0
	for i, args := range levers {
		r := rounds[i]
		for _, v := range r {
			losses += v.losses
		}
		rows = append(rows, []string{
			"`" + leverName(args) + "`",
			number(medianOf(r, volume.recordsPerConnection)),
			number(medianOf(r, volume.bytesPerConnection)),
			number(medianOf(r, volume.zippedPerConnection)),
			number(medianOf(r, func(v volume) float64 { return v.cpuPerConnection() / 1e3 })),
			number(medianOf(r, func(v volume) float64 { return v.bpfPerConnection() / 1e3 })),
			number(medianRatio(r, rounds[0], func(v volume) float64 { return v.cpuPerConnection() + v.bpfPerConnection() })),
		})
	}
	b.report.table(fmt.Sprintf("Levers of -c --json: a connection, both ends on the host, of %s in %d rounds",
		thousands(rounds[0][0].connections), b.rounds),
		[]string{"options", "records", "bytes", "gzip -6", "CPU, µs", "BPF, µs", "both, of all"}, rows)
	b.report.paragraph("CPU is nettrace's own, user and system; BPF is the run time of its programs, in whoever connects. One connection in 25 is refused, a third of the rest is reset, the others end by FIN. gzip has all of the file at once.")
	if losses > 0 {
		b.report.paragraph(fmt.Sprintf("**Events were lost, %d times: the figures are too low.** The machine was too busy.", losses))
	}
}
