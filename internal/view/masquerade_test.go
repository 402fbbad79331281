package view

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/names"
	"github.com/nettrace/nettrace/output"
)

// masqueradeTrials are the command lines of -M.
func masqueradeTrials() []trial {
	var trials []trial
	add := func(args string, extend int, known output.Names) {
		trials = append(trials, trial{args, viewOf(Options{Kind: Masquerade, Extend: extend}, known)})
	}
	var services names.Resolver
	add("-Mn", 0, output.Names{})
	add("-Mne", 1, output.Names{})
	add("-M", 0, output.Names{Hosts: testNames{}, Services: &services})
	add("-Me --numeric-ports", 1, output.Names{Hosts: testNames{}})
	add("-M --numeric-hosts", 0, output.Names{Services: &services})
	return trials
}

func TestMasquerade(t *testing.T) { golden(t, "masquerade", masqueradeTrials()[:2]) }

// TestMasqueradeLikeNetstat compares with netstat itself over random tables.
func TestMasqueradeLikeNetstat(t *testing.T) {
	compareRandom(t, 60, 4, func(rnd *rand.Rand, dir string) []trial {
		write(t, dir, "net/dev", "")
		if rnd.IntN(12) > 0 {
			write(t, dir, "net/ip_masquerade", randomMasquerades(rnd))
		}
		return masqueradeTrials()
	})
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
