package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// printer writes what several machines say, one at a time.
type printer struct {
	mu      sync.Mutex
	w       io.Writer
	verbose bool
}

func (p *printer) print(k kernel, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range strings.Lines(text) {
		// A run whose output nobody reads still has its exit status.
		_, _ = fmt.Fprintf(p.w, "[%s] %s\n", k.name, strings.TrimSuffix(line, "\n"))
	}
}

func (p *printer) line(k kernel, format string, args ...any) {
	p.print(k, fmt.Sprintf(format, args...))
}

// echo prints a line of a machine as it comes, if that was asked for.
func (p *printer) echo(k kernel, line string) {
	if p.verbose {
		p.print(k, line+"\n")
	}
}

// report prints how the suites of one machine went, and all that the failed
// ones said if it has not been printed yet.
func (p *printer) report(k kernel, image string, rep report, err error) {
	var text strings.Builder
	for _, s := range rep.suites {
		if !s.ok() && !p.verbose {
			text.WriteString(strings.Join(s.log, "\n") + "\n")
		}
	}
	verdict := "ok"
	if err != nil {
		verdict = "FAIL: " + err.Error()
	}
	for _, s := range rep.suites {
		fmt.Fprintf(&text, "%s\n", s)
		for _, skip := range s.skips {
			fmt.Fprintf(&text, "  skipped %s\n", skip)
		}
	}
	fmt.Fprintf(&text, "%s, up in %.1f s: %s\n", image, rep.boot.Seconds(), verdict)
	p.print(k, text.String())
}
