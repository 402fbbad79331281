package view

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// broken is a stdout whose writes fail after some.
type broken struct {
	left   int // writes that succeed
	failed int
}

func (b *broken) Write(p []byte) (int, error) {
	if b.left > 0 {
		b.left--
		return len(p), nil
	}
	b.failed++
	return 0, unix.EIO
}

func (b *broken) Flush() error { return nil }

// TestRecordsNotWritten fails to write records: the run ends with that error, which
// is tried once, also where the view fails too. Text goes on, as in netstat.
func TestRecordsNotWritten(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	row := "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000000000000000 100 0 0 10 0\n"
	if err := os.WriteFile(filepath.Join(root, "net/tcp"), []byte("header\n"+strings.Repeat(row, 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	listeners := Options{Protocols: Protocols{TCP: true}, All: true, NumericHosts: true, NumericPorts: true, NumericUsers: true}
	records, both := listeners, listeners
	records.JSON = true
	records.Continuous = true // it would go on for ever
	both.JSON = true
	both.Families = []string{"inet", "ipx"} // there is no IPX
	for _, test := range []struct {
		name   string
		opts   Options
		left   int
		failed bool // of the writes
		also   bool // the view fails
	}{
		{"the first", records, 0, true, false},
		{"a later one", records, 3, true, false},
		{"of a view that fails", both, 1, true, true},
		{"text", listeners, 0, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var errs bytes.Buffer
			out := &broken{left: test.left}
			err := Run(Env{Stdout: out, Stderr: &errs, Proc: root}, test.opts)
			var failure *Error
			switch {
			case test.also:
				if !errors.As(err, &failure) || !strings.Contains(errs.String(), unix.EIO.Error()) {
					t.Errorf("%v, and on stderr: %s", err, errs.String())
				}
			case test.failed != errors.Is(err, unix.EIO):
				t.Errorf("%v", err)
			}
			if out.failed == 0 || test.failed && out.failed != 1 {
				t.Errorf("%d writes failed", out.failed)
			}
		})
	}
}
