package main

import (
	"errors"
	"fmt"
)

// normalise turns netstat's command line into one for the flag library: full
// names, one option a word, values attached, operands gone. Options that act
// while they are read (-h, -V, -Z, a wrong -A) do so here, so that nothing to
// their right counts. Words without the program's name go in.
func normalise(e *env, words []string, own []longOption) ([]string, error) {
	_, posix := e.lookupEnv("POSIXLY_CORRECT")
	g := getopt{args: words, posix: posix, own: own}
	var args, families []string
	for {
		opt, ok, err := g.next()
		if err != nil || !ok {
			return append(args, familyFlags(families)...), err
		}
		switch opt.name {
		case "h", "V":
			return append(args, "--"+longName(opt.name)), nil
		case "?":
			return nil, &usageError{}
		case "Z":
			if !e.selinux() {
				return nil, failf("SELinux is not enabled on this machine.")
			}
			args = append(args, "--context")
		case "A", familyOption, "4", "6", "x":
			families, err = addFamily(e, families, opt)
			if err != nil {
				return nil, err
			}
		case "d":
			// netstat accepts it and does nothing.
		default:
			args = append(args, flagWord(opt, own))
		}
	}
}

// addFamily adds what one option says about address families.
func addFamily(e *env, families []string, opt option) ([]string, error) {
	words := opt.value
	switch opt.name {
	case "4":
		words = familyInet
	case "6":
		words = familyInet6
	case "x":
		words = familyUnix
	case familyOption:
		if words == "tcpip" {
			// A bug of netstat: its table has the name, its code does not.
			fmt.Fprintln(e.stderr, "netstat.c: Internal Error `longopts 1 range'.")
			return families, nil
		}
	}
	families, err := appendFamilies(families, words)
	if errors.Is(err, errFamilyList) {
		fmt.Fprintln(e.stderr, err)
		err = nil
	}
	return families, err
}

func familyFlags(families []string) []string {
	args := make([]string, len(families))
	for i, f := range families {
		args[i] = "--protocol=" + f
	}
	return args
}

// flagWord spells an option for the flag library.
func flagWord(opt option, own []longOption) string {
	for _, o := range own {
		if o.name == opt.name && o.hasArg {
			return "--" + opt.name + "=" + opt.value
		}
	}
	return "--" + longName(opt.name)
}

// longName gives the long name that netstat has for a letter; another name is
// a long one already.
func longName(name string) string {
	for _, o := range netstatOptions {
		if o.value == name {
			return o.name
		}
	}
	return name
}
