package option

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/getopt"
)

// shortestGuess is how many letters a name needs: a shorter one is near many.
const shortestGuess = 4

// Explain words an error of a Reader: the message as getopt_long has it, and beneath it
// the options that an unknown name may be meant for.
func (t *Table) Explain(err error) string {
	var wrong *getopt.Error
	if !errors.As(err, &wrong) || len(wrong.Unknown) < shortestGuess {
		return err.Error()
	}
	var names []string
	for i := range t.Options {
		if name := t.Options[i].Name; name != "" {
			names = append(names, name)
		}
	}
	near := field.Nearest(wrong.Unknown, names)
	if len(near) == 0 {
		return err.Error()
	}
	return fmt.Sprintf("%v\nDid you mean --%s?", err, strings.Join(near, " or --"))
}
