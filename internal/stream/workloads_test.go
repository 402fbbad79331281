package stream_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// places knows the containers of cgroups, and what it was asked.
type places struct {
	byCgroup map[uint64]*snapshot.Workload
	began    bool
	early    int // questions before the table
	settled  int
}

func (p *places) Begin(ask func()) {
	p.began = true
	ask()
}

func (p *places) Of(h *snapshot.Head, _ uint64) *snapshot.Workload {
	if !p.began {
		p.early++
	}
	return p.byCgroup[h.CgroupID]
}

func (p *places) Settle() { p.settled++ }

// seer keeps the container of each row and change.
type seer struct {
	stream.Nop
	rows, changes []string
}

func container(c *table.Conn) string {
	if c.Workload == nil {
		return "-"
	}
	return c.Workload.ContainerName
}

func (s *seer) Snapshot(rows iter.Seq[*table.Conn], _ time.Duration) error {
	for c := range rows {
		s.rows = append(s.rows, container(c))
	}
	return nil
}

func (s *seer) Change(c *table.Change) error {
	s.changes = append(s.changes, container(c.Conn))
	return nil
}

// TestEnrich checks that rows, changes and the filter have what owners run in, and that
// one which is not known any more is not told.
func TestEnrich(t *testing.T) {
	for _, tt := range []struct {
		filter        string
		rows, changes []string
	}{
		{"", []string{"-", "db"}, []string{"web", "web", "web", "-"}},
		{"container web", nil, []string{"web", "web", "web"}},
		{"not has container_name", []string{"-"}, []string{"-"}},
	} {
		s := story()
		s.rows[1].CgroupID, s.rows[0].Workload = 8, &snapshot.Workload{ContainerName: "of before"}
		for _, c := range s.changes[:3] {
			c.Conn.CgroupID = 7
		}
		opts := stream.Options{Listening: output.ServersAndEstablished}
		if tt.filter != "" {
			opts = bound(t, tt.filter)
		}
		run, err := stream.NewFiltered(s, opts)
		if err != nil {
			t.Fatal(err)
		}
		p := &places{byCgroup: map[uint64]*snapshot.Workload{7: {ContainerName: "web"}, 8: {ContainerName: "db"}}}
		run.Enrich(p)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		saw := &seer{}
		if err := run.Run(ctx, saw); err != nil {
			t.Fatal(err)
		}
		cancel()
		if diff := cmp.Diff([2][]string{tt.rows, tt.changes}, [2][]string{saw.rows, saw.changes}); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.filter, diff)
		}
		if p.early != 0 || p.settled == 0 {
			t.Errorf("%q: %d questions before the table, settled %d times", tt.filter, p.early, p.settled)
		}
	}
}
