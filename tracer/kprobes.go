package tracer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
)

// kprobeFiles are what a kprobe is attached by. A kernel with kprobes has one of them.
var kprobeFiles = []string{
	"/sys/bus/event_source/devices/kprobe/type",
	"/sys/kernel/tracing/kprobe_events",
	"/sys/kernel/debug/tracing/kprobe_events",
}

// haveKprobes returns an error where a kprobe cannot be attached as the files are not
// there. To load its program first would take 10 ms of the start.
func haveKprobes(files []string) error {
	for _, file := range files {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return fmt.Errorf("neither %s nor tracefs shows kprobes: %w", files[0], ebpf.ErrNotSupported)
}
