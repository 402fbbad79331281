package main

import (
	"bufio"
	"bytes"
	"strings"
	"syscall"
	"testing"

	"github.com/nettrace/nettrace/internal/load"
)

// TestStreamEnds checks that --count ends the stream, and that a closed pipe ends it
// by SIGPIPE without a message.
func TestStreamEnds(t *testing.T) {
	netns := newNetns(t)
	tr := trace(t, netns, "", "--count", "3")
	runLoad(t, load.Story(), netns)
	if err := tr.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, tr.stderr.String())
	}
	records := tr.records()
	if n := tr.count("tcp_state"); n != 3 {
		t.Errorf("%d changes, want 3", n)
	}
	if last := records[len(records)-1]; last.Event != "stop" || last.Reason != "count" {
		t.Errorf("the last record is %+v", last)
	}

	cmd := nettraceCommand(t, "-c", "--require-bpf", "--netns", netns, "--duration", "20s")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	for range 50 { // until nettrace writes to the closed pipe
		runLoad(t, load.Client(1, 1, load.Refused), netns)
		if cmd.Process.Signal(syscall.Signal(0)) != nil {
			break
		}
	}
	_ = cmd.Wait() // checked by its status
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGPIPE {
		t.Errorf("ended with %v, want SIGPIPE (141 to a shell)", cmd.ProcessState)
	}
	if strings.Contains(strings.ToLower(stderr.String()), "pipe") {
		t.Errorf("it was not quiet: %s", stderr.String())
	}
}
