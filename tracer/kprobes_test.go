package tracer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
)

// TestHaveKprobes has none of the files, and one. One that this user may not look at may
// be there.
func TestHaveKprobes(t *testing.T) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "type"), filepath.Join(dir, "kprobe_events")}
	if err := haveKprobes(files); !errors.Is(err, ebpf.ErrNotSupported) {
		t.Errorf("without the files: %v", err)
	}
	if err := os.WriteFile(files[1], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := haveKprobes(files); err != nil {
		t.Errorf("with one of them: %v", err)
	}
	if err := haveKprobes([]string{files[1] + "/below"}); err != nil { // ENOTDIR
		t.Errorf("with one that cannot be looked at: %v", err)
	}
}
