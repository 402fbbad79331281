package option

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// printCompletion prints the completion script of the program for a shell.
func printCompletion(app *cli.App, shell string) error {
	switch shell {
	case "fish":
		text, err := app.ToFishCompletion()
		if err == nil {
			_, err = io.WriteString(app.Writer, text)
		}
		return err
	case "bash":
		_, err := fmt.Fprintf(app.Writer, "complete -W '%s' nettrace\n", strings.Join(optionWords(app), " "))
		return err
	case "zsh":
		_, err := fmt.Fprintf(app.Writer, "#compdef nettrace\ncompadd -- %s\n", strings.Join(optionWords(app), " "))
		return err
	}
	return &Error{fmt.Sprintf("option '--completion' knows bash, fish and zsh, not '%s'", shell)}
}

// optionWords returns the long names of the options that the help shows.
func optionWords(app *cli.App) []string {
	var words []string
	for _, f := range app.VisibleFlags() {
		words = append(words, "--"+f.Names()[0])
	}
	return words
}
