package view

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/output"
)

// legacyTrials are the command lines for the sockets of the families other
// than Internet and Unix.
func legacyTrials() []trial {
	var trials []trial
	add := func(family, args string, o Options) {
		o.Families = []string{family}
		trials = append(trials, trial{"--" + family + " -n" + args, viewOf(o, output.Names{})})
	}
	for _, family := range []string{"ipx", "ax25", "x25", "netrom", "rose"} {
		add(family, "", Options{})
		add(family, "ae", Options{All: true, Extend: 1})
	}
	return trials
}

// legacyRouteTrials are the command lines for their routes.
func legacyRouteTrials() []trial {
	var trials []trial
	for _, family := range []string{"ipx", "ax25", "x25", "netrom", "rose", "ddp", "unix", "ash", "bluetooth"} {
		trials = append(trials, trial{"-rn -A " + family, viewOf(Options{Kind: Routes, Families: []string{family}}, output.Names{})})
	}
	trials = append(trials, trial{"-rnC -A x25,unix,ax25", viewOf(Options{Kind: Routes, Families: []string{"x25", "unix", "ax25"}, Cache: true}, output.Names{})})
	return trials
}

func TestLegacySockets(t *testing.T) { golden(t, "legacy", legacyTrials()) }

func TestLegacyRoutes(t *testing.T) {
	goldenOver(t, "legacy", "legacy_routes", legacyRouteTrials())
	goldenOver(t, "none", "legacy_routes_missing", legacyRouteTrials())
}

// TestLegacyAbsent checks what is printed for a family that the kernel lacks.
func TestLegacyAbsent(t *testing.T) {
	tests := []struct {
		explicit, verbose bool
		stderr            string
		status            int
	}{
		{explicit: true, stderr: "netstat: no support for `AF ROSE' on this system.\n", status: 1},
		{verbose: true, stderr: "netstat: no support for `AF ROSE' on this system.\n"},
		{},
	}
	for _, tt := range tests {
		got := runView(t, func(w, diag io.Writer, proc string) error {
			s := testSession(w, diag, proc, Options{Verbose: tt.verbose}, output.Names{})
			return s.legacyTables(&Selection{Explicit: tt.explicit}).rose()
		}, "testdata/none")
		if want := (result{"", tt.stderr, tt.status}); got != want {
			t.Errorf("explicit %v, verbose %v: got %+v, want %+v", tt.explicit, tt.verbose, got, want)
		}
	}
}

// TestLegacyDirectory has /proc/net/x25 as newer kernels do: a directory. netstat
// reads it for ever; here it must be a table without rows.
func TestLegacyDirectory(t *testing.T) {
	got := runView(t, func(w, diag io.Writer, proc string) error {
		return testSession(w, diag, proc, Options{}, output.Names{}).legacyTables(&Selection{}).x25()
	}, "testdata/legacy")
	want := result{Stdout: "Active X.25 sockets\nDest         Source          Device  LCI  State        Vr/Vs  Send-Q  Recv-Q\n"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestLegacyLikeNetstat compares with netstat itself over random sockets.
func TestLegacyLikeNetstat(t *testing.T) {
	compareRandom(t, 40, 6, func(rnd *rand.Rand, dir string) []trial {
		write(t, dir, "net/dev", "")
		for name, content := range randomLegacy(rnd) {
			if rnd.IntN(10) > 0 {
				write(t, dir, name, content)
			}
		}
		return append(legacyTrials(), legacyRouteTrials()[rnd.IntN(6)])
	})
}

// randomLegacy returns random files of the families in the kernel's layout. Now and
// then a row ends early.
func randomLegacy(rnd *rand.Rand) map[string]string {
	call := func() string { return pick(rnd, "*", "CALL-1", "CALLXX-15", "A", "RSLOOP-0") }
	number := func() int { return []int{0, 1, 2, 7, 255, 65536, -1}[rnd.IntN(7)] }
	state := func(n int) int { return rnd.IntN(n) }
	cut := func(row string) string {
		if rnd.IntN(15) == 0 {
			return row[:30+rnd.IntN(len(row)-30)] + "\n"
		}
		return row + "\n"
	}
	var ax25, x25, nr, rose, ipx strings.Builder
	x25.WriteString("dest_addr  src_addr   dev   lci st vs vr va   t  t2 t21 t22 t23 Snd-Q Rcv-Q inode\n")
	nr.WriteString("user_addr dest_node src_node  dev    my  your  st  vs  vr  va    t1     t2     t4      idle   n2  wnd Snd-Q Rcv-Q inode\n")
	rose.WriteString("dest_addr  dest_call src_addr   src_call  dev   lci neigh st vs vr va   t  t1  t2  t3  hb    idle Snd-Q Rcv-Q inode\n")
	ipx.WriteString("Local_Address               Remote_Address              Tx_Queue  Rx_Queue  State  Uid\n")
	for i := range rnd.IntN(6) {
		queues := pick(rnd, "17 18 19", "* * *", "0 0 123", "17", "17 18")
		fmt.Fprintf(&ax25, "%016x %s %s%s %s%s %d %d %d %d 5 6 7 8 9 10 11 12 13 14 15 16 17 %s\n", rnd.Uint64(), pick(rnd, "ax0", "???", "ax100000"),
			call(), pick(rnd, "", "*"), call(), pick(rnd, "", ",DIGI-1,DIGI-2*"), state(5), number(), number(), number(), queues)
		row := fmt.Sprintf("%-10s %-10s %-5s %3.3X  %d  %d  %d  %d %3d %3d %3d %3d %3d %5d %5d %d", pick(rnd, "*", "1234", "1234567890"),
			pick(rnd, "*", "5678", "0987654321"), pick(rnd, "???", "lapb0", "x25tap0"), rnd.IntN(10+30*min(i, 1)), state(5), rnd.IntN(200), rnd.IntN(8), 3, 0, 3, 1, 18, 18, number(), number(), 456)
		if i == 0 {
			row += "\n" // if the first row ended early, netstat would print uninitialised memory
		} else {
			row = cut(row)
		}
		x25.WriteString(row)
		nr.WriteString(cut(fmt.Sprintf("%-9s %-9s %-9s %-3s  %02X/%02X %02X/%02X %2d %3d %3d %3d %3d/%03d %2d/%02d %3d/%03d %3d/%03d %2d/%02d %3d %5d %5d %d",
			call(), call(), call(), pick(rnd, "nr0", "???", "nr100000"), rnd.IntN(256), rnd.IntN(256), 3, 4, state(4), rnd.IntN(256), rnd.IntN(256), 3, 0, 120, 0, 5, 0, 180, 0, 0, 0, 3, 4, number(), number(), 123)))
		rose.WriteString(cut(fmt.Sprintf("%-10s %-9s %-10s %-9s %-5s %3.3X %05d  %d  %d  %d  %d %3d %3d %3d %3d %3d %3d/%03d %5d %5d %d",
			pick(rnd, "*", "123456789"), call(), pick(rnd, "*", "1234567890"), call(), pick(rnd, "rose0", "???"), rnd.IntN(40), rnd.IntN(99999), state(4), 1, 2, 3, 0, 200, 5, 180, 5, 0, 0, 4, 5, 123)))
		fmt.Fprintf(&ipx, "%08X:%012X:%04X  %-26s  %08X  %08X  %02X     %03d\n", rnd.IntN(2), rnd.IntN(3), rnd.IntN(65536),
			pick(rnd, "Not_Connected", "00000002:0000000000AB:0451", "FFFFFFFF:FFFFFFFFFFFF:0000"), rnd.Uint32(), rnd.Uint32(), rnd.IntN(9), rnd.Uint32())
	}
	return map[string]string{"net/ax25": ax25.String(), "net/x25": x25.String(), "net/nr": nr.String(), "net/rose": rose.String(), "net/ipx/socket": ipx.String()}
}
