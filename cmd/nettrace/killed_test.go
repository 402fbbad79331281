package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
)

// TestKilled kills one of two runs amid the load: nothing of it stays in the
// kernel, the other one goes on, and the next one starts clean.
func TestKilled(t *testing.T) {
	netns := newNetns(t)
	server := startLoad(t, load.Server(), netns)
	defer func() { _ = server.Stop() }()
	killed, other := trace(t, netns, ""), trace(t, netns, "")
	kept := objectsOf(t, killed)
	if len(kept["prog"]) < 3 || len(kept["map"]) < 3 || len(kept["link"]) < 1 {
		t.Fatalf("the run has %v", kept)
	}
	count := 2000
	if inMachine {
		count = 200
	}
	client := startLoad(t, load.Client(0, count, load.FIN), netns)
	if err := client.Go(); err != nil {
		t.Fatal(err)
	}
	killed.wait("tcp_state", 100)
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.cmd.Wait() // it was killed
	if err := errors.Join(client.Done(), client.Stop()); err != nil {
		t.Fatal(err)
	}
	testnet.WaitClosed(t, netns)
	checkGone(t, kept)
	next := trace(t, netns, "")
	runLoad(t, load.Client(count, 20, load.FIN), netns)
	for name, tr := range map[string]*tracing{"other": other, "next": next} {
		tr.resync()
		tr.quiet()
		closes := 0
		for _, r := range tr.stop() {
			if r.Event == "tcp_close" {
				closes++
			}
			if r.Event == "resync" && r.Added+r.Removed+r.Changed > 0 {
				t.Errorf("the table of the %s run differed: %+v", name, r)
			}
		}
		if want := map[string]int{"other": 2 * (count + 20), "next": 2 * 20}[name]; closes != want {
			t.Errorf("the %s run was told of %d closes, want %d", name, closes, want)
		}
	}
}

// objectsOf returns the numbers of the BPF objects that a run holds, by kind, from the
// files that it has open.
func objectsOf(t *testing.T, tr *tracing) map[string][]uint32 {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", tr.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	objects := make(map[string][]uint32)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it was closed
		}
		for line := range strings.Lines(string(text)) {
			kind, number, ok := strings.Cut(strings.TrimSpace(line), "_id:")
			if id, err := strconv.ParseUint(strings.TrimSpace(number), 10, 32); ok && err == nil {
				objects[kind] = append(objects[kind], uint32(id))
			}
		}
	}
	return objects
}

// checkGone waits until the kernel has none of the objects, which it frees a moment
// after their last user.
func checkGone(t *testing.T, objects map[string][]uint32) {
	t.Helper()
	open := map[string]func(uint32) (interface{ Close() error }, error){
		"prog": func(id uint32) (interface{ Close() error }, error) { return ebpf.NewProgramFromID(ebpf.ProgramID(id)) },
		"map":  func(id uint32) (interface{ Close() error }, error) { return ebpf.NewMapFromID(ebpf.MapID(id)) },
		"link": func(id uint32) (interface{ Close() error }, error) { return link.NewFromID(link.ID(id)) },
	}
	for kind, open := range open {
		for _, id := range objects[kind] {
			var err error
			for range 3000 {
				var o interface{ Close() error }
				if o, err = open(id); err != nil {
					break
				}
				_ = o.Close() // it was only looked for
				time.Sleep(10 * time.Millisecond)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s %d of a run that was killed is there: %v", kind, id, err)
			}
		}
	}
}

// TestNoTracefs traces without tracefs and debugfs, which kprobes alone may need.
func TestNoTracefs(t *testing.T) {
	netns := newNetns(t)
	server := startLoad(t, load.Server(), netns)
	defer func() { _ = server.Stop() }()
	cmd := refusedCommand(t, "tracefs", "--json", "-acp", "--require-bpf", "--interval", "1h")
	tr := traceBy(t, cmd, func(start func()) { testnet.In(t, netns, start) })
	checkWorks(t, tr, netns, server, true, true)
}
