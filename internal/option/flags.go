package option

import (
	"time"

	"github.com/urfave/cli/v2"
)

// flag makes the flag library's form of an option.
func (o *Option) flag() cli.Flag {
	switch into := o.Into.(type) {
	case *int:
		return &cli.IntFlag{
			Category: o.Heading, Name: o.Name, Usage: o.Usage, DefaultText: o.Standard, Hidden: o.hidden(),
			Destination: into, Action: after[int](o.Then),
		}
	case *time.Duration:
		return &cli.DurationFlag{
			Category: o.Heading, Name: o.Name, Usage: o.Usage, DefaultText: o.Standard, Hidden: o.hidden(),
			Destination: into, Action: after[time.Duration](o.Then),
		}
	case *string:
		return &cli.StringFlag{
			Category: o.Heading, Name: o.Name, Usage: o.Usage, EnvVars: o.envVars(), Hidden: o.hidden(),
			Destination: into, Action: after[string](o.Then),
		}
	case Optional:
		return &cli.StringFlag{
			Category: o.Heading, Name: o.Name, Usage: o.Usage, Hidden: o.hidden(),
			Action: func(_ *cli.Context, text string) error { return into(text) },
		}
	case func(string) error:
		return &cli.StringFlag{
			Category: o.Heading, Name: o.Name, Usage: o.Usage, Hidden: o.hidden(),
			Action: func(_ *cli.Context, text string) error { return into(text) },
		}
	case *[]string:
		return &cli.StringSliceFlag{
			Category: o.Heading, Name: o.Name, Aliases: o.aliases(), Usage: o.Usage,
			Action: func(_ *cli.Context, list []string) error {
				*into = list
				return nil
			},
		}
	}
	return o.boolFlag()
}

// boolFlag makes the flag of an option without a value.
func (o *Option) boolFlag() *cli.BoolFlag {
	f := &cli.BoolFlag{
		Category: o.Heading, Name: o.Name, Aliases: o.aliases(), Usage: o.Usage, Hidden: o.hidden(),
		DisableDefaultText: true, Action: after[bool](o.Then),
	}
	switch into := o.Into.(type) {
	case *bool:
		f.Destination = into
	case Counted:
		f.Count = into.N
	}
	return f
}

func (o *Option) hidden() bool { return o.Heading == "" }

func (o *Option) aliases() []string {
	if o.Letter == "" {
		return nil
	}
	return []string{o.Letter}
}

func (o *Option) envVars() []string {
	if o.Env == "" {
		return nil
	}
	return []string{o.Env}
}

// after makes an action that does then, whatever the value.
func after[T any](then func() error) func(*cli.Context, T) error {
	if then == nil {
		return nil
	}
	return func(*cli.Context, T) error { return then() }
}
