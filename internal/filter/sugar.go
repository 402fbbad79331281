package filter

import (
	"fmt"
	"io"
	"strings"
)

// Flags are the options that stand for a condition each, as they were typed; empty: not
// given.
type Flags struct {
	Port, PID, Comm, User, State string
	Slower                       string
	Failed                       bool
}

// Expression is a condition and the option that stands for it.
type Expression struct{ Option, Text string }

// Expressions returns the condition of each flag that was given. A value stands in
// quotes where it needs them, so that it is nothing but a value.
func (f *Flags) Expressions() []Expression {
	var list []Expression
	for _, one := range []struct{ option, value, format string }{
		{"--port", f.Port, "port %s"},
		{"--pid", f.PID, "pid %s"},
		{"--comm", f.Comm, "comm %s"},
		{"--user", f.User, "user %s"},
		{"--state", f.State, "state in { %s }"},
		{"--slower", f.Slower, "latency > %[1]s or ( not has latency and duration > %[1]s )"},
	} {
		if one.value != "" {
			list = append(list, Expression{one.option, fmt.Sprintf(one.format, flagValues(one.value))})
		}
	}
	if f.Failed {
		list = append(list, Expression{"--failed", "failed"})
	}
	return list
}

// flagValues quotes the values of a comma list.
func flagValues(text string) string {
	values := strings.Split(text, ",")
	for i, v := range values {
		values[i] = quote(v)
	}
	return strings.Join(values, ",")
}

// ReadText reads an expression without the lines that begin with #. The file may be longer
// than an expression by those alone.
func ReadText(r io.Reader) (string, error) {
	const most = 1 << 20
	text, err := io.ReadAll(io.LimitReader(r, most))
	if err != nil {
		return "", err
	}
	var expression strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			expression.WriteString(line)
		}
	}
	return strings.TrimSpace(expression.String()), nil
}

// All reads several expressions, all of which must hold. Words that no option of the
// command line took are an error: they are what a shell made of an expression that was
// not quoted.
func All(list []Expression, opts Options) (*Filter, error) {
	var parts []*Filter
	for _, e := range list {
		opts.Option = e.Option
		part, err := Parse(e.Text, opts)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	if len(opts.Operands) > 0 {
		return nil, &Error{
			What: "words follow the expression: " + strings.Join(opts.Operands, " "),
			Hint: "the expression must be one argument: quote it",
		}
	}
	return And(parts...), nil
}
