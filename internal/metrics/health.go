package metrics

import (
	"errors"
	"fmt"
	"time"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output/sink"
)

// stalled is how long an output may take nothing while something waits.
const stalled = 30 * time.Second

// sick says why the run is not healthy; empty: it is. An output is healthy that has
// taken bytes lately, or that nothing waits for.
func (m *Metrics) sick() string {
	switch m.stage.Load() {
	case opening, reading:
		return "the initial table is not read yet"
	case ended:
		return stream.ErrOver.Error()
	}
	err := m.ask(func(stream.Standing) {})
	if errors.Is(err, stream.ErrSilent) {
		return fmt.Sprintf("%v within %v", err, m.patience)
	}
	if err != nil {
		return err.Error()
	}
	now := time.Now()
	for i, s := range m.outputs() {
		if why := stall(&s, now); why != "" {
			return fmt.Sprintf("output %s %s", outputName(i, s.Place), why)
		}
	}
	return ""
}

// stall says since when an output has taken nothing of what waits; empty: it works.
func stall(s *sink.Stats, now time.Time) string {
	waits, took := s.Queue.Oldest, now.Sub(s.Written.Last)
	switch {
	case s.Queue.Bytes == 0 || waits < stalled || took < stalled:
		return ""
	case s.Written.Last.IsZero():
		return fmt.Sprintf("has taken nothing yet, and something waits for %v", waits.Round(time.Second))
	}
	return fmt.Sprintf("has taken nothing for %v", took.Round(time.Second))
}
