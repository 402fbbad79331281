package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// printer writes the output of several machines without mixing it.
type printer struct {
	mu      sync.Mutex
	w       io.Writer
	verbose bool
}

func (p *printer) print(k kernel, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range strings.Lines(text) {
		// If nobody reads the output, the exit status still says how the run went.
		_, _ = fmt.Fprintf(p.w, "[%s] %s\n", k.name, strings.TrimSuffix(line, "\n"))
	}
}

func (p *printer) line(k kernel, format string, args ...any) {
	p.print(k, fmt.Sprintf(format, args...))
}

// echo prints a line of a machine at once if the run is verbose.
func (p *printer) echo(k kernel, line string) {
	if p.verbose {
		p.print(k, line+"\n")
	}
}

// report prints the results of one machine's suites, and the whole output of those
// that failed if echo has not printed it.
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
