package build

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestAbout(t *testing.T) {
	defer func(v, c string) { version, commit = v, c }(version, commit)
	version, commit = "1.2.3", "0123456789abcdef"
	want := "nettrace 1.2.3\ncommit 0123456789abcdef\n" + runtime.Version() + " linux/" + runtime.GOARCH + "\n"
	if got := About(); got != want {
		t.Errorf("About() = %q, want %q", got, want)
	}
	version, commit = "", ""
	if Version() == "" {
		t.Error("a build without the linker's word has no version")
	}
}

func TestRevision(t *testing.T) {
	got := revision([]debug.BuildSetting{{Key: "GOOS", Value: "linux"}, {Key: "vcs.revision", Value: "f00"}})
	if got != "f00" || revision(nil) != "" {
		t.Errorf("revision = %q, and %q of nothing", got, revision(nil))
	}
}
