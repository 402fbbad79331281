package option

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// printManual prints the manual page, man(7), of what the flag library knows.
// The library's own page comes out of a Markdown converter whose start takes
// longer than many a run of this program; the build leaves it out.
func printManual(app *cli.App) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH NETTRACE 8\n.SH NAME\nnettrace \\- %s\n", roff(app.Usage))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B nettrace\n%s\n", roff(strings.TrimPrefix(app.UsageText, "nettrace ")))
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", roff(strings.ReplaceAll(app.Description, "\n\n", "\n.PP\n")))
	b.WriteString(".SH OPTIONS\n")
	for _, category := range app.VisibleFlagCategories() {
		fmt.Fprintf(&b, ".SS %s\n", roff(category.Name()))
		for _, f := range category.Flags() {
			names, usage, _ := strings.Cut(f.String(), "\t")
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(names), roff(usage))
		}
	}
	b.WriteString(".SH SEE ALSO\n.BR netstat (8),\n.BR ss (8)\n")
	_, err := io.WriteString(app.Writer, b.String())
	return err
}

// roff keeps a text from being taken for requests of man(7).
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n'", "\n\\&'").Replace(text)
}
