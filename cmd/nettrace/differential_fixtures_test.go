package main

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// scene is the environment that both programs run in: namespaces, and what is in them.
type scene struct {
	name       string
	namespaces uintptr // clone flags
	live       bool    // what the programs show may change by itself
	set        func() (end func(), err error)
	trials     func() []trial
}

func scenes() []scene {
	list := fixtureScenes()
	for seed := range uint64(20) {
		list = append(list, randomFixture(seed))
	}
	return append(list, liveScenes()...)
}

// tree is a proc file system: paths to contents. A path that ends in "@" is a
// symbolic link, one that ends in "/" a directory.
type tree map[string]string

// mountTree puts a tmpfs with a tree over /proc, in the mount namespace of the
// process.
func mountTree(files tree) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/proc", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount over /proc: %w", err)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := writeEntry(filepath.Join("/proc", strings.TrimRight(path, "@/")), path[len(path)-1], files[path]); err != nil {
			return err
		}
	}
	return nil
}

func writeEntry(path string, kind byte, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch kind {
	case '@':
		return os.Symlink(content, path)
	case '/':
		return os.MkdirAll(path, 0o755)
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// withFiles returns a scene in which a tree is mounted over /proc.
func withFiles(name string, files tree, trials func() []trial) scene {
	return scene{
		name:       name,
		namespaces: unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		set:        func() (func(), error) { return func() {}, mountTree(files) },
		trials:     trials,
	}
}

// oneShot are the command lines that end by themselves.
func oneShot() []trial {
	var trials []trial
	for _, t := range allTrials() {
		if t.Sink == sinkFiles {
			trials = append(trials, t)
		}
	}
	return trials
}

const (
	tcpHeader  = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	unixHeader = "Num       RefCount Protocol Flags    Type St Inode Path\n"
	epsHeader  = " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n"
	assocHead  = " ASSOC     SOCK   STY SST ST HBKT ASSOC-ID TX_QUEUE RX_QUEUE UID INODE LPORT RPORT LADDRS <-> RADDRS HBINT INS OUTS MAXRT T1X T2X RTXC wmema wmemq sndbuf rcvbuf\n"
)

// allStates is a TCP table with a row for every state and timer.
func allStates(local, remote string) string {
	var b strings.Builder
	b.WriteString(tcpHeader)
	for state := range 12 {
		fmt.Fprintf(&b, "%4d: %s:%04X %s:%04X %02X %08X:%08X %02X:%08X %08X %5d %8d %d 1 0000000000000000 100 0 0 10 0\n",
			state, local, 80+state, remote, (state+1)*4321%65536, state, state*1000, state*77, state%5, state*1234, state, state*500, state%3, 100+state)
	}
	return b.String()
}

// oddRows are lines that no kernel writes, and which net-tools reads in a way of its
// own.
const oddRows = `   0: 0100007F:12345678 0200007F:10000 0A 00000000:00000000 00:00000000 00000000     0        0 23 1 x
   1: 0100007F:1F90 0200007F:0001 0B 00000001:FFFFFFFFF 101:00000010 00000005     0        0 23 1 x
   2: 7F:1F90 0200007F:0001 01 00000001:FFFFFFFFFFFFFFFFFF 05:00000010 00000005
   3: 7F:1F90 0200007F:0001 01 00000001:FFFFFFFFFFFFFFFFFF 05:00000010
   4: 0100007F:1F90 0200007F1:0001 01 00000001:FFFFFFFFFFFFFFFFFF 03:FFFFFFFFFFFF FFFFFFFFFFFFFFFF 4294967294 99999999999999 99999999999999999999999
   5: 00000000000000000000000001000000:1F90 0000000000000000FFFF00000200007F:0001 01 0x10:0x 02:0x10 0x5 4294967294 99999999999999 999999999

garbage
   x: 0100007F:1F90 0200007F:0001 01 00000001:0 00:0 0 0 0 23
   -7: 0100007F:-1 0200007F:+0001 01 00000001:0 00:0 0 0 0 23
  8 : 0100007F:1F90 0200007F:0001 01 00000001:0 00:0 0 0 0 23
  9:0100007F:1F90 0200007F: 0001 01 00000001: 0 00: 0 0 0 0 23
  9:0100007F :1F90 0200007F: 0001 01 00000001: 0 00: 0 0 0 0 23
  10: 0100007F:1F90 00000000:0001 01 1:2 3:4 5 6 7 8 9
  11: 0100007F:0 01000000:0000 01 1:2 3:4 5 6 7 8 9
  12: 0100007F:0 01000000:10000 00 1:2 3:4 5 6 7 8 9
  13: 0100007F:0 01000000:10001 01 1:2 3:4 5 6 7 8 9`

const oddUnix = unixHeader + `ffff0000: 0000000A 00000000 00010000 0001 01 17 /full
ffff0001: 0000000A 00000000 00010000 0001 01 18
ffff0002: 0000000A 00000000 00010000 0001 01
ffff0003: 0000000A 00000000 00010000 0001
0xffff: FFFFFFFF 1 FFFFFFFF 0006 01 19 a b
(nil): -1 100000000 2 0002 00 -20 a b
x: -1 100000000 2 0002 00 -20 a b
ffff0000: 1 0 40000 0003 02 17 /full
ffff0000: 1 0 60000 0004 03 17 /full
ffff0000: 1 0 70000 0005 04 17 /full
ffff0000: 1 0 80000 0000 05 17 /full
ffff0000: 1 0 80000 1 101 1777777777777777777777777 /full
ffff0000: 1 0 110000 100000001 100000001 17x /full
 +0x1: 1 0 110000 1 1 18	/tab
0x: 1 0 110000 1 1 18	/full
0x10:1 0 110000 1 1 18	/nospace
: 1 0 110000 1 1 18	/full
(NIL): 1 0 110000 1 1 18	/NIL
` + "ffff0000: 1 0 0 1 1 18 a\x00b\nffff0000: 1 0 0 1 1 19 \xff\xfeb\xc3\nffff0000: 1\x00 0 0 1 1 19 zz\nffff0000: 1 0 0 1 1 20 last"

const oddSCTP = epsHeader + `ffff0000 ffff0001 2   10  29   11212    7  17 10.0.0.1 10.0.0.2 
ffff0000 ffff0001 2   10  29   11212    7  18 *10.0.0.1 *10.0.0.2 
ffff0000 ffff0001 2   10  29   11212    7  19 
ffff0000 ffff0001 2   10  29   11212    7
x x x x x x x x 10.0.0.1
ffff0000 ffff0001 2   13  29   70000    -7  28 10.0.0.1
ffff0000 ffff0001 2   -1  29   0x10    4294967295  0x1d 10.0.0.300
ffff0000 ffff0001 2   12  29   5    7  031 0000:0000:0000:0000:0000:0000:0000:0001 2001:0db8:0000:0000:0000:0000:0000:0001
ffff0000 ffff0001 2   11  29   0    7  32 010.1 0x7f.1 1 1.2.3 10.0.0.01 127.0.0.1	10.0.0.2  10.0.0.3
`

const oddAssocs = assocHead + `ffff0000 ffff0001 2   1   3  12345    1        5        6       7 17 11212  5000  10.0.0.1 10.0.0.2 <-> *10.0.0.3 10.0.0.4 	    7500    10    10   10    0    0        0        1        0   212992   212992
f f 2 1 3 12345 1 5 6 7 17 11212 5000 *10.0.0.1 *10.0.0.2 *10.0.0.9 <-> *10.0.0.3 	  7500 10 10 10 0 0 0
f f 2 1 3 12345 1 5 6 7 17 11212 5000 127.0.0.1 <-> *10.0.0.3 **10.0.0.4 x 10.0.0.5 	  7500 10 10 10 0 0 0
f f 2 1 3 12345 1 5 6 7 17 11212 5000 <-> *10.0.0.3 	 7500 10 10 10 0 0 0
f f 2 1 3 12345 1 5 6 7 17 11212 5000 10.0.0.1 <-> 	 7500 10 10 10 0 0 0
f f 2 44 3 12345 1 -1 99999999999999999999 -9 -9 70000 -1 0000:0000:0000:0000:0000:0000:0000:0000 <-> 10.0.0.2 	 
f f 2 1 3
`

// oddOwners are processes with odd command lines and links.
var oddOwners = tree{
	"100/cmdline": "/a/b/averyveryverylongname\x00-x\x00", "100/fd/0@": "socket:[101]", "100/fd/1@": "socket:[0x66]",
	"100/fd/2@": "socket:[+103]", "100/fd/3@": "socket:[ 104]", "100/fd/4@": "socket:[105x]", "100/fd/5@": "socket:[9]",
	"101/cmdline": "./rel/path/prog", "101/fd/0@": "[0000]:106", "101/fd/1@": "[0000]:107x", "101/fd/2@": "socket:[108",
	"101/fd/3@": "socket:[000000000000000000000000109]", "101/fd/x@": "socket:[110]", "101/fd/7x@": "socket:[111]",
	"102/fd/1@":   "socket:[23]",
	"103/cmdline": "/title x/with -flag /q/foo.conf\x00foo/bar", "103/fd/1@": "socket:[17]", "103/fd/2@": "socket:[017]",
	"104/cmdline": "\x00abc", "104/fd/1@": "socket:[18]",
	"105/cmdline": "/x/", "105/fd/1@": "socket:[19]",
	"106/cmdline": strings.Repeat("/0123456789", 60), "106/fd/1@": "socket:[20]",
	"107/cmdline": "nginx: master process /x/nginx\x00", "107/fd/1@": "socket:[23]",
	"108/cmdline": "a\nb\x1b[31m\xff\xc3", "108/fd/1@": "socket:[28]", "108/fd/2@": "socket:[100]",
	"109/cmdline": "", "109/fd/1@": "socket:[32]",
	"110/fd/": "", "111/": "", "self@": "100", "1x/fd/0@": "socket:[101]",
}

// merge joins trees.
func merge(trees ...tree) tree {
	all := tree{}
	for _, t := range trees {
		for path, content := range t {
			all[path] = content
		}
	}
	return all
}

const (
	ip6Doc  = "B80D0120000000000000000001000000" // 2001:db8::1
	ip6Long = "B80D0120FFFFFFFFFFFFFFFFFFFFFFFF"
	ip6Map  = "0000000000000000FFFF00000100007F"
	ip6Comp = "00000000000000000000000004030201"
)

// tableFiles are the tables other than those of sockets.
//
//go:embed testdata/tables
var tableFiles embed.FS

// otherTables returns tableFiles as a tree.
func otherTables() tree {
	files := tree{}
	err := fs.WalkDir(tableFiles, "testdata/tables", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := tableFiles.ReadFile(path)
		files[strings.TrimPrefix(path, "testdata/tables/")] = string(content)
		return err
	})
	if err != nil {
		panic(err) // an embedded file system that cannot be read
	}
	return files
}

func fixtureScenes() []scene {
	tables := tree{
		"net/tcp": allStates("0100007F", "08080808"), "net/tcp6": allStates(ip6Long, ip6Doc),
		"net/udp": allStates("0100007F", "08080808"), "net/udp6": allStates(ip6Map, ip6Comp),
		"net/udplite": allStates("00000000", "00000000"), "net/udplite6": allStates(ip6Doc, strings.Repeat("0", 32)),
		"net/raw": allStates("0100007F", "00000000"), "net/raw6": allStates(ip6Comp, ip6Long),
		"net/unix":     unixHeader + "ffff0000: 00000002 00000000 00010000 0001 01 117 /run/x\nffff0000: 00000003 00000000 00000000 0001 03 118\n",
		"net/sctp/eps": oddSCTP, "net/sctp/assocs": oddAssocs,
	}
	odd := tree{
		"net/tcp": tcpHeader + oddRows, "net/tcp6": tcpHeader + oddRows, "net/udp": tcpHeader + oddRows,
		"net/udplite6": tcpHeader + oddRows, "net/udplite": "", "net/raw": tcpHeader, "net/raw6": tcpHeader + oddRows,
		"net/unix": oddUnix, "net/sctp/eps": oddSCTP, "net/sctp/assocs": "x", "net/sctp6/eps": epsHeader, "net/sctp6/assocs": oddAssocs,
	}
	long := tree{
		"net/tcp":      tcpHeader + strings.Repeat("   0: 0100007F:1F90 0200007F:0001 01 1:2 3:4 5 6 7 8 "+strings.Repeat("9", 200)+"\n", 300) + strings.Repeat("x", 20000),
		"net/unix":     unixHeader + "0: 1 0 0 1 1 18 /" + strings.Repeat("x", 6000) + "\n0: 1 0 0 1 1 20 /" + strings.Repeat("z", 9000) + "\n",
		"net/sctp/eps": epsHeader + "f f 2 10 29 5 9 5 " + strings.Repeat("10.0.0.1 ", 2000) + "\nf f 2 10 29 5 9 6 10.9.9.9", "net/sctp/assocs": assocHead,
	}
	noInode := tree{"net/unix": strings.Replace(oddUnix, "Inode", "Node", 1), "net/tcp6": tcpHeader + oddRows}
	return []scene{
		withFiles("tables", merge(tables, otherTables(), oddOwners), func() []trial {
			return append(append(oneShot(), sinkTrials(sinkMerged, sinkFull, sinkClosed)...), randomTrials(1, 900, "")...)
		}),
		withFiles("odd", merge(odd, oddOwners), func() []trial { return append(oneShot(), randomTrials(2, 300, "")...) }),
		withFiles("long", merge(long, oddOwners), func() []trial {
			// The output is longer than a pipe's buffer, so that the program
			// notices when its reader closes the pipe.
			return append(sinkTrials(sinkMerged, sinkFull, sinkClosed), trial{Args: words("-an"), Sink: sinkHead}, trial{Args: words("-anp"), Sink: sinkHead})
		}),
		withFiles("missing", tree{"net/": ""}, oneShot),
		withFiles("no inode", noInode, oneShot),
		withFiles("not a directory", tree{"net": ""}, oneShot),
		withFiles("nothing", tree{}, oneShot),
	}
}

// randomFixture returns tables of random rows, most of them well-formed.
func randomFixture(seed uint64) scene {
	r := rand.New(rand.NewPCG(seed, 1))
	files := tree{}
	for _, p := range []string{"tcp", "udp", "udplite", "raw"} {
		files["net/"+p] = randomTable(r, 8)
		files["net/"+p+"6"] = randomTable(r, 32)
	}
	files["net/unix"] = randomUnix(r)
	return withFiles(fmt.Sprintf("random %d", seed), merge(files, oddOwners), func() []trial {
		return without("rigsM", randomTrials(seed+100, 15, ""))
	})
}

// randomTable draws a table of Internet sockets. It draws TCP's states only: with
// others netstat reads beyond the end of its list of names.
func randomTable(r *rand.Rand, digits int) string {
	hex := func(width int) string { return fmt.Sprintf("%0*X", width, r.Uint64()>>r.IntN(64)) }
	addr := func() string {
		switch r.IntN(5) {
		case 0:
			return strings.Repeat("0", digits)
		case 1:
			return strings.Repeat("0", digits-8) + fmt.Sprintf("%08X", r.Uint32())
		case 2:
			if digits == 32 {
				return "0000000000000000FFFF0000" + fmt.Sprintf("%08X", r.Uint32())
			}
		}
		var b strings.Builder
		for b.Len() < digits {
			fmt.Fprintf(&b, "%08X", r.Uint32()&(0xffffffff>>(8*r.IntN(5))))
		}
		return b.String()
	}
	var b strings.Builder
	b.WriteString(tcpHeader + "   0: 0100007F:0001 0200007F:0002 01 1:2 1:5 6 7 8 9\n")
	for i := range r.IntN(30) {
		columns := []string{
			fmt.Sprintf("%d:", i), addr() + ":" + hex(4), addr() + ":" + hex(4), fmt.Sprintf("%02X", r.IntN(12)),
			hex(8) + ":" + hex(8), fmt.Sprintf("%02X:", r.IntN(7)) + hex(8), hex(8),
			fmt.Sprint(int64(r.Uint64())), fmt.Sprint(r.IntN(3)), fmt.Sprint(100 + r.IntN(20)),
		}
		if r.IntN(6) == 0 {
			columns = columns[:1+r.IntN(len(columns)-1)]
		}
		b.WriteString(strings.Join(columns, strings.Repeat(" ", 1+r.IntN(2))) + "\n")
	}
	return b.String()
}

// randomUnix draws a table of Unix sockets.
func randomUnix(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString(unixHeader + "0: 1 0 0 1 1 18 /first\n")
	for range r.IntN(40) {
		columns := []string{
			fmt.Sprintf("%016x:", r.Uint64()), fmt.Sprintf("%08X", r.IntN(300)), fmt.Sprintf("%08X", r.IntN(10)/9),
			fmt.Sprintf("%08X", r.Uint32()&0x70000), fmt.Sprintf("%04X", r.IntN(7)), fmt.Sprintf("%02X", r.IntN(6)),
			fmt.Sprintf("%5d", r.IntN(130)), "@/a" + string(rune(r.IntN(300))),
		}
		if r.IntN(6) == 0 {
			columns = columns[:1+r.IntN(len(columns)-1)]
		}
		b.WriteString(strings.Join(columns, " ") + "\n")
	}
	return b.String()
}
