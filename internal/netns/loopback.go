package netns

import (
	"os"
	"strings"
)

// OnlyLoopback reports whether a network namespace has no interface but lo. proc is a
// directory whose net/ shows it.
func OnlyLoopback(proc string) (bool, error) {
	text, err := os.ReadFile(proc + "/net/dev")
	if err != nil {
		return false, err
	}
	return onlyLoopback(string(text)), nil
}

// onlyLoopback reads the lines of a net/dev file, which has two of headings.
func onlyLoopback(text string) bool {
	for line := range strings.Lines(text) {
		name, _, isRow := strings.Cut(strings.TrimSpace(line), ":")
		if isRow && name != "lo" {
			return false
		}
	}
	return true
}
