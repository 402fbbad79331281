package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/nettrace/nettrace/internal/view"
)

// commandLines cover every view, option and error of netstat.
// Words are split at spaces; ” is an empty word.
var commandLines = strings.Split(strings.TrimSpace(`

-n
-a
-an
-l
-ln
-aln
-W
-anW
--numeric-hosts
-a --numeric-ports
-ae --numeric-users
-aN
-n extra operand
-n -- -a
-c5
-tn
-un
-Un
-wn
-xn
-tun
-tuxan
-4n
-6n
-46an
-4xan
-t4an
-t6anW
-u6an
-w6an
-A inet -an
-A inet6,unix -an
--protocol=inet -an
--inet --unix -ln
--ip -n
-Aip6 -an
--ddp -n
-A ash -n
-S6
-tS
-Sa
-San
-Sanepo
-SaN
-ane
-anee
-ano
-anoe
-anp
-anpe
-anpeo
-anpeoW
-tulpen
-lnp
-xanp
-xanpeo
-lntp
-xp
-anp
-ate
-atW
-x
-xa
-xl
-xal
-xe
-xW
--unix --listening --programs
-xa
-r
-rn
-rne
-rnee
-rneee
-rneeee
-rN
-r --numeric-hosts
-r --numeric-ports
-rnW
-rn6
-r6
-rn46
-rn64
-rn44
-rnC
-rnF
-rnCF
-rnC6
-rnCFee6
-rnCee
--route --inet6 --numeric
-r -A inet,inet6 -n
-rx
-r -A ipx
-r -A x25
-i
-ia
-in
-ie
-iae
-iee
-iW
-i eth2
--interfaces --all --extend
-g
-gn
-gn4
-gn6
-gxn
-gt
-M
-Mne
-s
-st
-su
-sw
-sS
-sU
-stu
-s6
-s6t
-s6u
-s6w
-s -4
-sg
-sc
-s46
-sx
-V
-h
--he
-?
-y
--foo
--num
--u
--in
--ine -n
--tcpip -n
--numeric=1
-A
-A foo
-A inet,foo
-A ''
-ii
-ri
-rr
-2
--bluetooth
-Z
--ipx
--ax25
-T
-nV -y
-y -h
-tnc
-rnc
-ic
-iec
-xlc
-nctS
-Mc
-nv
-tnv
-4nv
`), "\n")

// words splits a command line.
func words(line string) []string {
	args := strings.Fields(line)
	for i, a := range args {
		if a == "''" {
			args[i] = ""
		}
	}
	return args
}

// allTrials are all command lines. Those that repeat run for two rounds.
func allTrials() []trial {
	var trials []trial
	for _, line := range append([]string{""}, commandLines...) {
		t := trial{Args: words(line)}
		if repeats(t.Args) {
			t.Sink = sinkRounds
		}
		trials = append(trials, t)
	}
	return trials
}

// repeats reports whether a command line never ends by itself.
func repeats(args []string) bool {
	e, _, _ := testEnv("netstat")
	o, err := parse(e, append([]string{"netstat"}, args...))
	if err != nil || o == nil || !o.Continuous {
		return false
	}
	v, err := o.chosenView()
	return err == nil && v != view.Statistics
}

// randomTrials draws command lines of one to four words. The same seed gives
// the same ones.
func randomTrials(seed uint64, n int, leaveOut string) []trial {
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	letters := func(from string) string {
		var b strings.Builder
		b.WriteByte('-')
		for range 1 + r.IntN(4) {
			b.WriteByte(from[r.IntN(len(from))])
		}
		return b.String()
	}
	var trials []trial
	for len(trials) < n {
		var args []string
		for range 1 + r.IntN(3) {
			switch r.IntN(12) {
			case 0:
				args = append(args, pick("--tcp", "--udp", "--raw", "--unix", "--listening", "--all", "--extend", "--programs",
					"--verbose", "--wide", "--numeric", "--numeric-hosts", "--numeric-ports", "--numeric-users", "--symbolic", "--udplite"))
			case 1:
				args = append(args, pick("--inet", "--inet6", "--ip", "--ipx", "--ax25", "--ine", "--prog", "--lis", "--tcpip", "--ddp"))
			case 2:
				args = append(args, "-A"+pick("inet", "inet6", "unix", "inet,inet6", "ip6,unix", "ax25", "econet", "foo", "inet6,inet"))
			case 3:
				args = append(args, letters("rigsM"))
			case 4:
				args = append(args, pick("operand", "--", "-", "-y", "--in", "--fib", "--cache", "--route", "--statistics", "--groups", "--interfaces"))
			default:
				args = append(args, letters("aaleennnoptuUwx46WNvFC"))
			}
		}
		if !strings.ContainsAny(strings.Join(args, " "), leaveOut) {
			trials = append(trials, trial{Args: args})
		}
	}
	return trials
}

// sinkTrials run some views into sinks that fail or close.
func sinkTrials(sinks ...sink) []trial {
	var trials []trial
	for _, line := range []string{"-an", "-anp", "-s"} {
		for _, to := range sinks {
			trials = append(trials, trial{Args: words(line), Sink: to})
		}
	}
	return trials
}

// asNobody returns the trials, to be run as a user without privilege.
func asNobody(trials []trial) []trial {
	trials = slices.Clone(trials)
	for i := range trials {
		trials[i].UID = nobody
	}
	return trials
}

// without returns the trials that have none of some option letters.
func without(letters string, trials []trial) []trial {
	return slices.DeleteFunc(slices.Clone(trials), func(t trial) bool {
		return slices.ContainsFunc(t.Args, func(a string) bool {
			return strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.ContainsAny(a, letters)
		})
	})
}

func init() {
	const want = 165
	if len(commandLines) != want {
		panic(fmt.Sprintf("%d command lines instead of %d and the empty one", len(commandLines), want))
	}
}
