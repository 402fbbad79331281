// Package source reads the filter of a command line: from its words, from files and from
// the flags that are short for an expression.
package source

import (
	"fmt"
	"io"
	"os"

	"github.com/nettrace/nettrace/internal/filter"
)

// Source is what a command line says of the filter.
type Source struct {
	Expressions []string     // of --filter, in order
	Files       []string     // of --filter-file; "-" is stdin
	Flags       filter.Flags // short for an expression
	Operands    []string     // words that no option took
}

// Any reports whether an option asks for a filter.
func (s *Source) Any() bool {
	return len(s.Expressions)+len(s.Files) > 0 || s.Flags != filter.Flags{}
}

// Parse reads all expressions, that of the file "-" from stdin. It returns nil if there
// is none. onlyUnix says that Unix sockets alone are shown.
func (s *Source) Parse(stdin io.Reader, onlyUnix bool) (*filter.Filter, error) {
	if !s.Any() {
		return nil, nil //nolint:nilnil // there is no filter
	}
	var list []filter.Expression
	for _, text := range s.Expressions {
		list = append(list, filter.Expression{Option: "--filter", Text: text})
	}
	for _, name := range s.Files {
		text, err := readExpression(name, stdin)
		if err != nil {
			return nil, err
		}
		list = append(list, filter.Expression{Option: "--filter-file", Text: text})
	}
	return filter.All(append(list, s.Flags.Expressions()...), filter.Options{Unix: onlyUnix, Operands: s.Operands})
}

// readExpression reads a file, or stdin.
func readExpression(name string, stdin io.Reader) (string, error) {
	file := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", &filter.Error{Option: "--filter-file", What: fmt.Sprintf("it cannot be read: %v", err)}
		}
		defer f.Close()
		file = f
	}
	text, err := filter.ReadText(file)
	if err != nil {
		return "", &filter.Error{Option: "--filter-file", What: fmt.Sprintf("it cannot be read: %v", err)}
	}
	return text, nil
}
