package view

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/output"
)

// routeTrials are the command lines of -r for the Internet families.
func routeTrials() []trial {
	var trials []trial
	add := func(args string, o Options, hosts output.Hosts) {
		o.Kind = Routes
		trials = append(trials, trial{args, viewOf(o, output.Names{Hosts: hosts})})
	}
	for extend := range 7 {
		e := strings.Repeat("e", extend)
		add("-rn"+e, Options{Extend: extend}, nil)
		add("-rnC"+e, Options{Extend: extend, Cache: true}, nil)
		add("-rnCF"+e, Options{Extend: extend, Cache: true, FIB: true}, nil)
		add("-r"+e, Options{Extend: extend}, testNames{})
	}
	six := []string{"inet6"}
	add("-rC", Options{Cache: true}, testNames{})
	add("-rnF", Options{FIB: true}, nil)
	add("-rN", Options{Symbolic: true}, testNames{})
	add("-rn6", Options{Families: six}, nil)
	add("-r6", Options{Families: six}, testNames{})
	add("-rn6C", Options{Families: six, Cache: true}, nil)
	add("-rn6CFee", Options{Families: six, Cache: true, FIB: true, Extend: 2}, nil)
	add("-rn46", Options{Families: []string{"inet", "inet6"}}, nil)
	add("-rn64", Options{Families: []string{"inet6", "inet"}}, nil)
	add("-rn44", Options{Families: []string{"inet", "inet"}}, nil)
	return trials
}

func TestRoutes(t *testing.T) { golden(t, "routes", routeTrials()) }

// TestRoutesLikeNetstat compares with netstat itself over random tables.
func TestRoutesLikeNetstat(t *testing.T) {
	trials := routeTrials()
	compareRandom(t, 80, 1, func(rnd *rand.Rand, dir string) []trial {
		if rnd.IntN(8) > 0 {
			write(t, dir, "net/route", randomRoutes(rnd))
		}
		if rnd.IntN(8) > 0 {
			write(t, dir, "net/rt_cache", randomCachedRoutes(rnd))
		}
		if rnd.IntN(8) > 0 {
			write(t, dir, "net/ipv6_route", randomRoutes6(rnd))
		}
		write(t, dir, "net/dev", "")
		var some []trial
		for range 8 {
			some = append(some, trials[rnd.IntN(len(trials))])
		}
		return some
	})
}

// pick returns one of several texts.
func pick(rnd *rand.Rand, texts ...string) string { return texts[rnd.IntN(len(texts))] }

// randomHex4 returns an IPv4 address as /proc spells it.
func randomHex4(rnd *rand.Rand) string {
	if rnd.IntN(3) == 0 {
		return fmt.Sprintf("%08X", rnd.Uint32())
	}
	return pick(rnd, "00000000", "0302010A", "0000000A", "C864A8C0", "0064A8C0", "0100007F", "0000007F",
		"00020100", "FFFFFFFF", "00FFFFFF", "0000FFFF", "ffffffff", "04030201", "000000E0")
}

// randomMask returns a mask, rarely one with holes.
func randomMask(rnd *rand.Rand) string {
	return pick(rnd, "00000000", "000000FF", "0000FFFF", "00FFFFFF", "FFFFFFFF", "FFFFFFFF", "0000000F", "FF00FF00")
}

func randomNumber(rnd *rand.Rand) string {
	return pick(rnd, "0", "0", "0", "1", "-1", "+5", "1500", "2147483647", "2147483648", "4294967295", "4294967296",
		"9223372036854775807", "9223372036854775808", "-9223372036854775809", "99999999999999999999", "65535", "012", "7x", "100000")
}

func randomFlags(rnd *rand.Rand) string {
	switch rnd.IntN(4) {
	case 0:
		return fmt.Sprintf("%X", rnd.Uint32())
	case 1:
		return fmt.Sprintf("%04X", 1|rnd.Uint32N(0x800))
	}
	return pick(rnd, "0001", "0003", "0005", "0007", "0201", "0200", "0x1", "FFFFFFFF", "fffffdff", "80000001", "-1", "1000000000000000000000001", "0")
}

func randomIface(rnd *rand.Rand) string {
	return pick(rnd, "eth0", "lo", "*", "wlp0s20f3", "abcdefghijklmno", "abcdefghijklmnopq", "tun1", "\xff\xfe", "naïve", "a.b")
}

const routeHeader = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       \n"

func randomRoutes(rnd *rand.Rand) string {
	var b strings.Builder
	switch rnd.IntN(12) {
	case 0:
		b.WriteString(pick(rnd, "", "\n", "Iface\n", "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window\n",
			"Destination Iface Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"))
	case 1:
		b.WriteString("Extra|" + routeHeader)
	default:
		b.WriteString(routeHeader)
	}
	for range rnd.IntN(8) {
		if strings.HasPrefix(b.String(), "Extra") {
			b.WriteString("extra\t")
		}
		fields := []string{
			randomIface(rnd), randomHex4(rnd), randomHex4(rnd), randomFlags(rnd), randomNumber(rnd),
			randomNumber(rnd), randomNumber(rnd), randomMask(rnd), randomNumber(rnd), randomNumber(rnd), randomNumber(rnd),
		}
		b.WriteString(randomRow(rnd, fields, 10))
	}
	return b.String()
}

// randomRow joins fields, and rarely leaves some out, adds one, or pads the row
// beyond any buffer.
func randomRow(rnd *rand.Rand, fields []string, enough int) string {
	end := "\n"
	switch rnd.IntN(30) {
	case 0:
		fields = fields[:rnd.IntN(len(fields))]
	case 1:
		fields = fields[:min(enough, len(fields))]
	case 2:
		fields = append(fields, "more", "of it")
	case 3:
		end = strings.Repeat(" ", rnd.IntN(100)) + "\n"
	case 4:
		end = "\n\n"
	}
	return strings.Join(fields, pick(rnd, "\t", " ", "  ", " \t ")) + end
}

func randomCachedRoutes(rnd *rand.Rand) string {
	// For a row that ends early netstat would print uninitialised memory.
	randomNumber := func(rnd *rand.Rand) string { return strings.TrimSuffix(randomNumber(rnd), "x") }
	var b strings.Builder
	b.WriteString("Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst                          \n")
	for range rnd.IntN(6) {
		iface := randomIface(rnd)
		b.WriteString(strings.Join([]string{
			iface[:min(len(iface), 15)], randomHex4(rnd), randomHex4(rnd), randomFlags(rnd), randomNumber(rnd),
			randomNumber(rnd), randomNumber(rnd), randomHex4(rnd), randomNumber(rnd), randomNumber(rnd), randomNumber(rnd),
			randomNumber(rnd), randomNumber(rnd), randomNumber(rnd), randomHex4(rnd),
		}, "\t") + "\n")
	}
	return b.String()
}

// randomHex6 returns an IPv6 address as /proc spells it.
func randomHex6(rnd *rand.Rand) string {
	switch rnd.IntN(5) {
	case 0:
		return fmt.Sprintf("%016x%016x", rnd.Uint64(), rnd.Uint64())
	case 1:
		var b strings.Builder
		for range 8 {
			b.WriteString(pick(rnd, "0000", "0000", "0001", "abcd", "ffff"))
		}
		return b.String()
	}
	return pick(rnd, "00000000000000000000000000000000", "00000000000000000000000000000001", "20010db8000000000000000000000001",
		"fe800000000000000000000000000001", "00000000000000000000ffff7f000001", "00000000000000000000000001020304",
		"00000000000000000000fffe01020304", "0000000000000000ffff000001020304", "0064ff9b000000000000000001020304", "ff020000000000000000000000000001")
}

func randomRoutes6(rnd *rand.Rand) string {
	var b strings.Builder
	number := func() string {
		return pick(rnd, "00000000", "00000100", "00000400", "ffffffff", "7fffffff", "80000000", "1", "0x1f")
	}
	for range rnd.IntN(10) {
		flags := fmt.Sprintf("%08x", rnd.Uint32())
		if rnd.IntN(3) > 0 {
			flags = pick(rnd, "00000001", "00000003", "80200001", "00200200", "01000003", "00450003")
		}
		length := func() string { return pick(rnd, "00", "40", "80", "0a", "ff") }
		row := []string{
			randomHex6(rnd), length(), randomHex6(rnd), length(), randomHex6(rnd),
			number(), number(), number(), flags, "   " + randomIface(rnd),
		}
		if b.Len() > 0 && rnd.IntN(20) == 0 { // not the first row: netstat would print uninitialised memory
			row = row[:rnd.IntN(len(row))]
		}
		b.WriteString(strings.Join(row, " ") + "\n")
	}
	return b.String()
}
