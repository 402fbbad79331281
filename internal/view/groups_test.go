package view

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/output"
)

// groupTrials are the command lines of -g. With one family netstat prints the table
// of Internet sockets first. The fixtures have no such sockets, so that table is its
// two lines of header, which the trial prints itself.
func groupTrials() []trial {
	var trials []trial
	add := func(args, before string, sel Selection, hosts output.Hosts) {
		trials = append(trials, trial{args, func(w, diag io.Writer, proc string) error {
			_, _ = io.WriteString(w, before)
			return testSession(w, diag, proc, Options{}, output.Names{Hosts: hosts}).groups(&sel)
		}})
	}
	const header = "Active Internet connections (w/o servers)\n" +
		"Proto Recv-Q Send-Q Local Address           Foreign Address         State      \n"
	add("-gn", "", Selection{IPv4: true, IPv6: true}, nil)
	add("-g", "", Selection{IPv4: true, IPv6: true}, testNames{})
	add("-gn4", header, Selection{IPv4: true, Implied: true}, nil)
	add("-gn6", header, Selection{IPv6: true, Implied: true}, nil)
	return trials
}

func TestGroups(t *testing.T) { golden(t, "groups", groupTrials()) }

// TestGroupsLikeNetstat compares with netstat itself over random groups.
func TestGroupsLikeNetstat(t *testing.T) {
	compareRandom(t, 100, 3, func(rnd *rand.Rand, dir string) []trial {
		write(t, dir, "net/dev", "")
		if rnd.IntN(10) > 0 {
			write(t, dir, "net/igmp", randomGroups(rnd))
		}
		if rnd.IntN(10) > 0 {
			write(t, dir, "net/igmp6", randomGroups6(rnd))
		}
		return groupTrials()
	})
}

func randomUsers(rnd *rand.Rand) string {
	return pick(rnd, "1", "1", "2", "100000", "-1", "4294967295", "2147483648", "5x", "")
}

func randomGroups(rnd *rand.Rand) string {
	var b strings.Builder
	b.WriteString("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n")
	for i := range rnd.IntN(5) {
		switch rnd.IntN(12) {
		case 0:
			b.WriteString(pick(rnd, "\n", "xx\n", "7\n", "7", "8 no tab :\n", "9\tnocolon and more than fifteen\n", " 5\tspace : 1\n"))
		default:
			fmt.Fprintf(&b, "%d\t%-10s: %5d      V3\n", i+1, pick(rnd, "lo", "eth0", "eth0.1234", "abcdefghijklmno", "abcdefghijklmnopq", "a:b", "\xff\xfe"), rnd.IntN(3))
		}
		for range rnd.IntN(4) {
			fmt.Fprintf(&b, "\t\t\t\t%s %5s %d:%08X\t\t%d\n", randomHex4(rnd), randomUsers(rnd), rnd.IntN(2), rnd.Uint32(), rnd.IntN(2))
			if rnd.IntN(12) == 0 {
				b.WriteString(pick(rnd, "\t\t\t\tE000 1\n", "\t\t\t\t010000E01 1\n", "\t\t\t\tzz 1\n", "\t\n", "\t\t\t\t010000E0\n"))
			}
		}
	}
	return b.String()
}

func randomGroups6(rnd *rand.Rand) string {
	var b strings.Builder
	for i := range rnd.IntN(8) {
		fmt.Fprintf(&b, "%-4d %-15s %s %5s %08X %d\n", i+1, pick(rnd, "lo", "eth0", "abcdefghijklmno", "abcdefghijklmnopq", "\xff\xfe"),
			randomHex6(rnd), randomUsers(rnd), rnd.Uint32(), rnd.IntN(2))
		if rnd.IntN(12) == 0 {
			b.WriteString(pick(rnd, "\n", "1 a\n", "x a ff020000000000000000000000000001 2\n",
				"1 a ff020000000000000000000000000001ff020000 2\n", "1 a g 1\n", "1 a ff020000000000000000000000000001\n"))
		}
	}
	return b.String()
}
