package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/output"
)

// statisticsTrials are the command lines of -s.
func statisticsTrials() []trial {
	var trials []trial
	add := func(args string, families []string, p Protocols) {
		o := Options{Kind: Statistics, Families: families, Protocols: p}
		trials = append(trials, trial{args, viewOf(o, output.Names{})})
	}
	for _, family := range []string{"", "4", "6"} {
		families := map[string][]string{"": nil, "4": {"inet"}, "6": {"inet6"}}[family]
		for bits := range 32 {
			letters := ""
			for i, letter := range "tuwSU" {
				if bits>>i&1 != 0 {
					letters += string(letter)
				}
			}
			add("-s"+family+letters, families, Protocols{
				TCP: bits&1 != 0, UDP: bits&2 != 0, Raw: bits&4 != 0, SCTP: bits&8 != 0, UDPLite: bits&16 != 0,
			})
		}
	}
	add("-s46", []string{"inet", "inet6"}, Protocols{})
	add("-sx", []string{"unix"}, Protocols{})
	return trials
}

func TestStatistics(t *testing.T) { golden(t, "statistics", statisticsTrials()) }

// TestStatisticsLikeNetstat compares with netstat itself over random counters.
func TestStatisticsLikeNetstat(t *testing.T) {
	trials := statisticsTrials()
	names := []string{"net/snmp", "net/netstat", "net/snmp6", "net/sctp/snmp"}
	kernel := map[string]string{}
	for _, name := range names {
		b, err := os.ReadFile("testdata/proc/" + name)
		if err != nil {
			t.Fatal(err)
		}
		kernel[name] = string(b)
	}
	compareRandom(t, 100, 2, func(rnd *rand.Rand, dir string) []trial {
		for _, name := range names {
			if rnd.IntN(10) > 0 {
				write(t, dir, name, randomStatistics(rnd, name, kernel[name]))
			}
		}
		some := []trial{trials[0], trials[64]}
		for range 4 {
			some = append(some, trials[rnd.IntN(len(trials))])
		}
		return some
	})
}

// randomStatistics returns the names of a file with other values, and sometimes
// other lines among them.
func randomStatistics(rnd *rand.Rand, name, content string) string {
	pairs := name == "net/snmp" || name == "net/netstat"
	var b strings.Builder
	sections := strings.SplitAfter(content, "\n")
	if !pairs && rnd.IntN(3) == 0 {
		rnd.Shuffle(len(sections), func(i, j int) { sections[i], sections[j] = sections[j], sections[i] })
	}
	if pairs {
		shufflePairs(rnd, sections)
	}
	for i, line := range sections {
		switch {
		case line == "":
		case pairs && i%2 == 0:
			b.WriteString(oddPairs(rnd))
			b.WriteString(line)
		case pairs:
			b.WriteString(randomValues(rnd, line))
		default:
			// A line without a value shows that of the line before, and as
			// the first one what lies on netstat's stack.
			if odd := oddLine(rnd, name); b.Len() > 0 {
				b.WriteString(odd)
			}
			key := strings.Fields(line)[0]
			fmt.Fprintf(&b, "%-32s\t%s\n", key, randomValue(rnd))
		}
	}
	return b.String()
}

// shufflePairs puts pairs of lines in another order.
func shufflePairs(rnd *rand.Rand, lines []string) {
	if rnd.IntN(2) == 0 {
		return
	}
	rnd.Shuffle(len(lines)/2, func(i, j int) {
		lines[2*i], lines[2*j] = lines[2*j], lines[2*i]
		lines[2*i+1], lines[2*j+1] = lines[2*j+1], lines[2*i+1]
	})
}

func randomValue(rnd *rand.Rand) string {
	if rnd.IntN(4) == 0 {
		return fmt.Sprint(rnd.Uint64())
	}
	return pick(rnd, "0", "0", "0", "1", "2", "17", "4294967295", "-1", "18446744073709551615", "18446744073709551616", "0", "007")
}

func randomValues(rnd *rand.Rand, line string) string {
	fields := strings.Fields(line)
	for i := range fields[1:] {
		fields[i+1] = randomValue(rnd)
	}
	if rnd.IntN(12) == 0 {
		fields = fields[:1+rnd.IntN(len(fields))]
	}
	if rnd.IntN(12) == 0 {
		fields = append(fields, "77", "88")
	}
	return strings.Join(fields, " ") + "\n"
}

// oddPairs rarely gives lines that the kernel would not write there.
func oddPairs(rnd *rand.Rand) string {
	if rnd.IntN(12) > 0 {
		return ""
	}
	return pick(rnd, "\n", "\n\n", "Foo: a b\nFoo: 1 2\n", "TcpFoo: x InSegs\nTcpFoo: 3 4\n", "Tcp6: InSegs Foo\nTcp6: 0 5\n",
		"Udp: InErrors\nTcp: 9\n", " Udp: NoPorts\n Udp: 1\n", "Icmp: OutEchos InMsgs InEchos Foo OutEchos\nIcmp: 0 1 2 3 4\n",
		"no colon\n", "Foo: a\nno colon\n", "IcmpMsg: InType3 OutType3\nIcmpMsg: 5 6\n", "Ip: InReceives\nIp: 0x10\n",
		"Tcp:\nTcp:\n", "Sctp: SctpCurrEstab\nSctp: 5\n", "Ip6: Ip6InReceives x\nIp6: 4 5\n", ": a\n: 7\n", "Foo:\ta\tb\nFoo:\t1\t2\n", "Foo: a  b\nFoo: 1x  2\n",
		"Udp: InDatagrams\n\n", "Udp6: Udp6NoPorts\nUdp6: 6\n", "TcpExt: TCPTimeouts TCPLostRetransmits TW TWKilled\nTcpExt: 1 2 3 4\n")
}

func oddLine(rnd *rand.Rand, name string) string {
	if rnd.IntN(25) > 0 {
		return ""
	}
	if name == "net/sctp/snmp" {
		return pick(rnd, "SctpFoo\t5\n", "SctpCurrEstab\n", "\n", "Other 3 4\n", "SctpShutdowns x\n", "  SctpAborteds 6\n")
	}
	return pick(rnd, "Ip6Foo 1\n", "Icmp6InMsgs\n", "\n", "Foo 7\n", "xIp6 8\n", "Udp6NoPorts 1x\n", "Udp6NoPorts x\n", "a6b6c 9\n",
		"  Ip6InReceives 3\n", "Icmp6OutRouterAdvertisements 4\n", "Tcp6Foo 2\n", "Udp6InErrors 0x5\n", "Ip6InDelivers 5 6\n")
}

// TestStatisticsNumbers checks that a record has the number that stands in the file.
func TestStatisticsNumbers(t *testing.T) {
	root := t.TempDir()
	values := []string{"-1", "-9223372036854775808", "0", "9007199254740993", "18446744073709551615", "9223372036854775808"}
	write(t, root, "net/snmp", "Tcp: A B C D E F\nTcp: "+strings.Join(values, " ")+"\n")
	for _, proc := range []string{root, "/proc"} {
		file, err := os.ReadFile(filepath.Join(proc, "net/snmp"))
		if err != nil {
			t.Fatal(err)
		}
		want := numbersOf(string(file))
		var out, diag bytes.Buffer
		if err := Run(Env{Stdout: unbuffered{&out}, Stderr: &diag, Proc: proc}, Options{Kind: Statistics, JSON: true}); err != nil {
			t.Fatal(err)
		}
		var negative []string
		for line := range strings.Lines(out.String()) {
			var r struct {
				Section, Name string
				Value         json.Number
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			name := r.Section + " " + r.Name
			if text, ok := want[name]; proc == root && text != r.Value.String() || ok && text[0] == '-' && text != r.Value.String() {
				t.Errorf("%s of %s is %s, want %s", name, proc, r.Value, text)
			}
			if r.Value.String()[0] == '-' {
				negative = append(negative, name)
			}
		}
		if len(negative) == 0 {
			t.Errorf("%s: no negative number, not even of Tcp MaxConn", proc)
		}
	}
}

// numbersOf returns the values of a statistics file by section and name.
func numbersOf(file string) map[string]string {
	numbers := map[string]string{}
	lines := strings.Split(file, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := 1; j < len(names); j++ {
			numbers[strings.TrimSuffix(names[0], ":")+" "+names[j]] = values[j]
		}
	}
	return numbers
}
