package view

import (
	"encoding/json"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// unixRecord is what a test reads of the record of a Unix socket.
type unixRecord struct {
	Path                string
	Inode               int
	Refcnt              int
	Abstract, Truncated bool
}

func unixRecords(t *testing.T, r result) []unixRecord {
	t.Helper()
	var records []unixRecord
	for line := range strings.Lines(r.Stdout) {
		var u unixRecord
		if err := json.Unmarshal([]byte(line), &u); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		records = append(records, u)
	}
	return records
}

// unixView is the view of Unix sockets.
func unixView(o Options) view {
	o.Families, o.All = []string{FamilyUnix}, true
	return viewOf(o, output.Names{})
}

const unixForged = "0000000000000000: 00000002 00000000 00010000 0001 01 424242 /forged"

// TestUnixRecords checks that a name that looks like rows of /proc/net/unix is one
// name of one record. The judge is the name that the socket was bound to.
func TestUnixRecords(t *testing.T) {
	if _, err := snapshot.ReadUnixNames(); err != nil {
		t.Skipf("the kernel does not name Unix sockets: %v", err)
	}
	// Tests before this one may have left the main thread, whose files those of /proc
	// are, in a namespace of theirs.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	name := "@nettrace " + time.Now().Format(time.RFC3339Nano) + "\n" + unixForged[:60]
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() // the end of the listener waits, without an inode
	var got []unixRecord
	for _, u := range unixRecords(t, runView(t, unixView(Options{JSON: true}), DefaultProc+"/thread-self")) {
		if u.Inode == 424242 {
			t.Errorf("a forged record: %+v", u)
		}
		if u.Path == name {
			if u.Inode != 0 {
				u.Inode = 1
			}
			u.Refcnt = 0
			got = append(got, u)
		}
	}
	listener, waiting := unixRecord{Path: name, Inode: 1, Abstract: true}, unixRecord{Path: name, Abstract: true}
	want := [][]unixRecord{{listener, waiting}, {waiting, listener}}
	if !cmp.Equal(got, want[0]) && !cmp.Equal(got, want[1]) {
		t.Errorf("records %+v, want %+v", got, want[0])
	}
}

// TestUnixRecordsWithoutNames checks that where only the file is there a row that may
// be a part of a name is left out with a warning, in records alone.
func TestUnixRecordsWithoutNames(t *testing.T) {
	proc := t.TempDir()
	write(t, proc, "net/unix", "Num       RefCount Protocol Flags    Type St Inode Path\n"+
		"ffff888000000001: 00000002 00000000 00010000 0001 01    17 /run/a b\n"+unixForged+"\n")
	got := runView(t, unixView(Options{JSON: true}), proc)
	want := []unixRecord{{Path: "/run/a b", Inode: 17, Refcnt: 2, Truncated: true}}
	if diff := cmp.Diff(want, unixRecords(t, got)); diff != "" || got.Stderr != "warning, got bogus unix line.\n" {
		t.Errorf("stderr %q; records (-want +got):\n%s", got.Stderr, diff)
	}
	text := runView(t, unixView(Options{}), proc)
	if !strings.Contains(text.Stdout, "/run/a\n") || !strings.Contains(text.Stdout, "/forged\n") {
		t.Errorf("the text is not netstat's: %s", text.Stdout)
	}
}
