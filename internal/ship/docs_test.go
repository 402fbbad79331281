package ship

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocs runs each command with -c of the pages about shipping, for a second, with a
// directory of its own for what it writes.
func TestDocs(t *testing.T) {
	netns := newNetns(t)
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, page := range []string{"shipping.md", "scale.md"} {
		for _, command := range commands(readFile(t, filepath.Join(root, "docs", page))) {
			n++
			command = strings.NewReplacer("sudo nettrace", filepath.Join(dir, "nettrace"),
				"/var/log/nettrace", t.TempDir(), "/run/", t.TempDir()+"/").Replace(command)
			var stderr bytes.Buffer
			cmd := exec.Command("sh", "-c", command+" --duration 1s")
			cmd.Stderr = &stderr
			inNetns(t, netns, func() { err = cmd.Run() })
			// Nobody listens on the sockets of the pages.
			if err != nil && !strings.Contains(stderr.String(), "could not be delivered") {
				t.Errorf("%s: %s: %v: %s", page, command, err, stderr.String())
			}
		}
	}
	if n < 3 {
		t.Errorf("only %d commands were found", n)
	}
}

// commands returns the commands of a page that trace, each in one line.
func commands(page string) []string {
	var list []string
	shell := false
	for line := range strings.Lines(strings.ReplaceAll(page, "\\\n", "")) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			shell = line == "```sh"
		case shell && strings.HasPrefix(line, "sudo nettrace -c "):
			list = append(list, line)
		}
	}
	return list
}
