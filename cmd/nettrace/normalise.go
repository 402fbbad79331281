package main

import (
	"errors"
	"fmt"

	"github.com/nettrace/nettrace/internal/option"
	"github.com/nettrace/nettrace/internal/view"
)

// normalise reads netstat's command line and returns its options one by one,
// those about address families last, one for each family. Options that act while
// they are read (-h, -V, -Z, a wrong -A) do so here, so that nothing to their
// right counts. Words without the program's name go in; those that are no options
// come back, too.
func normalise(e *env, table *option.Table, words []string) (list []option.Given, operands []string, err error) {
	_, posix := e.lookupEnv("POSIXLY_CORRECT")
	reader := table.NewReader(words, posix)
	var families []string
	for {
		opt, ok, err := reader.Next()
		if err != nil {
			return nil, nil, &usageError{table.Explain(err)}
		}
		if !ok {
			return append(list, eachFamily(table, families)...), reader.Operands(), nil
		}
		switch opt.Option.Key() {
		case "help", "version":
			return append(list, opt), nil, nil
		case "?":
			return nil, nil, &usageError{}
		case "d":
			continue
		case "context":
			if !e.selinux() {
				return nil, nil, view.Errorf("SELinux is not enabled on this machine.")
			}
		}
		words, isFamily := opt.FamilyWords()
		if !isFamily {
			list = append(list, opt)
			continue
		}
		if families, err = addFamilies(e, families, opt, words); err != nil {
			return nil, nil, err
		}
	}
}

// addFamilies adds what one option says about address families.
func addFamilies(e *env, families []string, opt option.Given, words string) ([]string, error) {
	if opt.Option.NamesFamily() && words == "tcpip" {
		// A bug of netstat: its table has the name, its code does not.
		fmt.Fprintln(e.stderr, "netstat.c: Internal Error `longopts 1 range'.")
		return families, nil
	}
	families, err := view.AppendFamilies(families, words)
	if errors.Is(err, view.ErrFamilyList) {
		fmt.Fprintln(e.stderr, err)
		err = nil
	}
	return families, err
}

// eachFamily returns an option for each family.
func eachFamily(table *option.Table, names []string) []option.Given {
	protocol := table.ByName("protocol")
	list := make([]option.Given, len(names))
	for i, name := range names {
		list[i] = option.Given{Option: protocol, Value: name}
	}
	return list
}
