package ship

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// The file that the recipes follow.
const followed = "/var/log/nettrace/nettrace.ndjson"

// TestFiles has shippers follow the files of one run: through own rotation under load,
// a rename with SIGHUP while nothing is written, and a rename alone. Telegraf and the
// OpenTelemetry Collector get the closes, as Telegraf follows no more.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	all, closes := filepath.Join(dir, "all"), filepath.Join(dir, "closes")
	tr := traceIn(t, newNetns(t), all, all+",rotate-size=40M,rotate-keep=9", closes+",events=close,rotate-size=20M,rotate-keep=9")
	followers := map[string][]*running{
		all:    {rsyslog.run(t, followed, all), syslogNG.run(t, followed, all)},
		closes: {telegraf.run(t, followed, closes), filelog.run(t, followed, closes)},
	}
	time.Sleep(5 * time.Second) // a file lives that long before it is rotated

	tr.connect(11_000, load.RST)
	tr.connect(11_000, load.Refused)
	caughtUp(t, followers)
	rename(t, ".hup", all, closes)
	tr.signal(syscall.SIGHUP)
	reopened(t, all, closes)
	tr.connect(4_000, load.RST)
	caughtUp(t, followers)
	rename(t, ".alone", all, closes)
	reopened(t, all, closes)
	tr.connect(2_000, load.RST)
	tr.connect(2_000, load.FIN) // last: a minute later their sockets leave TIME_WAIT
	caughtUp(t, followers)
	tr.stop()

	outputs := map[string]*written{all: readWritten(t, all), closes: readWritten(t, closes)}
	for path, w := range outputs {
		if len(w.files) < 4 {
			t.Errorf("the files are %s: there was no rotation, or a rename was not seen", words(w.files))
		}
		for _, f := range followers[path] {
			f.follows(len(w.lines))
		}
	}
	if got, least := outputs[closes].count("tcp_close"), connections+19_000; got < least {
		t.Errorf("%d connections closed, want %d and more: both ends, and those that were refused", got, least)
	}
	if a, b := outputs[all].count("tcp_close"), outputs[closes].count("tcp_close"); a != b {
		t.Errorf("one file has %d closes, the other one %d", a, b)
	}
	time.Sleep(6 * time.Second) // what a shipper reads twice comes now
	for path, w := range outputs {
		for _, f := range followers[path] {
			f.check(w)
		}
	}
}

// caughtUp waits until each follower has what was written.
func caughtUp(t *testing.T, followers map[string][]*running) {
	t.Helper()
	for path, list := range followers {
		quiet(t, path)
		n := len(readWritten(t, path).lines)
		for _, f := range list {
			f.follows(n)
		}
	}
}

// quiet waits until a file has not grown for a second.
func quiet(t *testing.T, path string) {
	t.Helper()
	before, since := int64(-1), time.Now()
	await(t, "quiet in "+path, func() bool {
		st, err := os.Stat(path)
		if err == nil && st.Size() != before {
			before, since = st.Size(), time.Now()
		}
		return time.Since(since) > time.Second
	})
}

func rename(t *testing.T, suffix string, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Rename(path, path+suffix); err != nil {
			t.Fatal(err)
		}
	}
}

// reopened waits until there are files again, with a first line in them.
func reopened(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		await(t, path, func() bool {
			st, err := os.Stat(path)
			return err == nil && st.Size() > 0
		})
	}
}
