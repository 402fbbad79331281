package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The harness ends a machine whose kernel panics, and one that never ends, and
// its error holds the console's text. The parameters reach the kernel.
func TestMachineEnds(t *testing.T) {
	image := cachedImage(t)
	late := errors.New("this is taking too long")
	for _, tt := range []struct {
		name, init string
		want       []string
	}{
		{"panic", "exec /bin/busybox false", []string{"the kernel panicked", "Attempted to kill init"}},
		{"hang", "echo last words $param\nexec /bin/busybox sleep 100000", []string{late.Error(), "last words here"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := machine{series: "test", params: "param=here", kernel: image, dir: t.TempDir()}
			m.initrd = filepath.Join(m.dir, "initrd")
			writeInitramfs(t, m.initrd, "#!/bin/busybox sh\n"+tt.init+"\n")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			go func() {
				for ctx.Err() == nil && !strings.Contains(m.lastWords(), "last words") {
					time.Sleep(50 * time.Millisecond)
				}
				cancel(late)
			}()
			err := m.boot(ctx, io.Discard)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

// cachedImage returns any kernel that make test-kernels has left in the cache.
func cachedImage(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"qemu-system-x86_64", "busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s: make test-kernels installs it", program)
		}
	}
	cache, err := cacheDir()
	if err != nil {
		t.Skip(err)
	}
	for _, k := range kernels {
		if tree, ok := k.cached(filepath.Join(cache, "kernels")); ok {
			file, err := image(tree)
			if err != nil {
				t.Fatal(err)
			}
			return file
		}
	}
	t.Skip("no kernel in the cache: make test-kernels fetches them")
	return ""
}

func writeInitramfs(t *testing.T, name, init string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	a := newArchive(f)
	a.script("/init", []byte(init))
	if err := errors.Join(addBusybox(a), a.close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// The harness stops a machine that is silent for too long, and no other.
func TestMachineSilent(t *testing.T) {
	for name, speaks := range map[string]bool{"silent": false, "speaking": true} {
		t.Run(name, func(t *testing.T) {
			m := machine{dir: t.TempDir()}
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				go m.watch(ctx, silence, cancel)
				for range 50 {
					time.Sleep(5 * time.Second)
					if speaks {
						appendTo(t, m.pulse(), "alive\n")
					}
				}
				if got := errors.Is(context.Cause(ctx), errEmulator); got == speaks {
					t.Errorf("given up: %v", got)
				}
			})
		})
	}
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
