package output_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/output"
)

// masqueradeTrials are the command lines of -M.
func masqueradeTrials() []trial {
	var trials []trial
	add := func(args string, o output.MasqueradeOptions) {
		trials = append(trials, trial{args, func(w, diag io.Writer, proc string) error {
			return output.Masquerades(w, diag, proc, o)
		}})
	}
	var services output.Resolver
	add("-Mn", output.MasqueradeOptions{})
	add("-Mne", output.MasqueradeOptions{Extend: true})
	add("-M", output.MasqueradeOptions{Names: testNames{}, Services: &services})
	add("-Me --numeric-ports", output.MasqueradeOptions{Extend: true, Names: testNames{}})
	add("-M --numeric-hosts", output.MasqueradeOptions{Services: &services})
	return trials
}

func TestMasquerade(t *testing.T) { golden(t, "masquerade", masqueradeTrials()[:2]) }

// TestMasqueradeLikeNetstat compares with netstat itself over random tables.
func TestMasqueradeLikeNetstat(t *testing.T) {
	needNetstat(t)
	etc := etcDir(t)
	compared, differ := 0, 0
	for seed := range seeds(60) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		dir := t.TempDir()
		write(t, dir, "net/dev", "")
		if rnd.IntN(12) > 0 {
			write(t, dir, "net/ip_masquerade", randomMasquerades(rnd))
		}
		compared += len(masqueradeTrials())
		if n := compare(t, etc, dir, masqueradeTrials()); n > 0 {
			differ += n
			t.Logf("seed %d", seed)
		}
	}
	t.Logf("%d compared, %d differ", compared, differ)
}

func randomMasquerades(rnd *rand.Rand) string {
	previous := rnd.IntN(3) > 0
	header := "Prc FromIP   FPrt ToIP     TPrt Masq Init-seq  Delta PDelta Expires (free=40960,40960,40960)\n"
	if !previous {
		header = strings.Replace(header, " PDelta", "", 1)
	}
	if rnd.IntN(15) == 0 {
		return pick(rnd, "", "\n", header, header+"\n", header+"XXX 1:1 1:1 1 1 1 1 1\n", header+"TCP 1:1 1\n", "x\n")
	}
	var b strings.Builder
	b.WriteString(header)
	for range rnd.IntN(6) {
		addr := func() string {
			return pick(rnd, "7F000001", "0A010203", "C0A864C8", "00000000", "00010200", "00000001", "FFFFFFFF", "1FFFFFFFF") + ":" +
				pick(rnd, "0", "0050", "16", "1BB", "FFFF", "EA60", "1F90", "12345", "35")
		}
		fmt.Fprintf(&b, "%s %s %s %s %s %s ", pick(rnd, "TCP", "UDP", "ICMP", "GRE", "ESP", "IP"), addr(), addr(),
			pick(rnd, "EA60", "0", "19"), pick(rnd, "00000000", "FFFFFFFF", "FFFFFFFFFFFFFFFFF", "-1"), pick(rnd, "0", "-1", "40000", "32767"))
		if previous {
			b.WriteString(pick(rnd, "0 ", "-5 ", "99999 "))
		}
		b.WriteString(pick(rnd, "0", "99", "123456", "90000", "-1", "18446744073709551616", "360000000") + "\n")
	}
	return b.String()
}
