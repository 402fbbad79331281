package output_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/output"
)

// groupTrials are the command lines of -g. Those with one family print the
// Internet sockets before, so the fixtures have none of these and the views
// print their two lines of header.
func groupTrials() []trial {
	var trials []trial
	add := func(args, before string, o output.GroupOptions) {
		trials = append(trials, trial{args, func(w, diag io.Writer, proc string) error {
			_, _ = io.WriteString(w, before)
			return output.Groups(w, diag, proc, o)
		}})
	}
	const header = "Active Internet connections (w/o servers)\n" +
		"Proto Recv-Q Send-Q Local Address           Foreign Address         State      \n"
	add("-gn", "", output.GroupOptions{IPv4: true, IPv6: true})
	add("-g", "", output.GroupOptions{IPv4: true, IPv6: true, Names: testNames{}})
	add("-gn4", header, output.GroupOptions{IPv4: true, Implied: true})
	add("-gn6", header, output.GroupOptions{IPv6: true, Implied: true})
	return trials
}

func TestGroups(t *testing.T) { golden(t, "groups", groupTrials()) }

// TestGroupsLikeNetstat compares with netstat itself over random groups.
func TestGroupsLikeNetstat(t *testing.T) {
	needNetstat(t)
	etc := etcDir(t)
	compared, differ := 0, 0
	for seed := range seeds(100) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		dir := t.TempDir()
		write(t, dir, "net/dev", "")
		if rnd.IntN(10) > 0 {
			write(t, dir, "net/igmp", randomGroups(rnd))
		}
		if rnd.IntN(10) > 0 {
			write(t, dir, "net/igmp6", randomGroups6(rnd))
		}
		compared += len(groupTrials())
		if n := compare(t, etc, dir, groupTrials()); n > 0 {
			differ += n
			t.Logf("seed %d", seed)
		}
	}
	t.Logf("%d compared, %d differ", compared, differ)
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
