package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

const unixTitle = "Num       RefCount Protocol Flags    Type St Inode Path\n"

// unixRow writes a row as unix_seq_show does.
func unixRow(inode uint64, name string) string {
	row := fmt.Sprintf("%016x: %08X %08X %08X %04X %02X %5d", 0xffff0000+inode, 2, 0, UnixAccepting, 1, 1, inode)
	if name != "" {
		row += " " + strings.ReplaceAll(name, "\x00", "@")
	}
	return row + "\n"
}

func TestParseNamedUnix(t *testing.T) {
	forged := "/tmp/a\n" + strings.TrimSuffix(unixRow(424242, "/forged"), "\n")
	for _, tt := range []struct {
		name, file string
		names      UnixNames
		want       []string // inode and name of the rows; bogus for a line that is none
	}{
		{"a blank", unixRow(7, "/run/a b"), UnixNames{7: "/run/a b"}, []string{"7 /run/a b"}},
		{"a blank, not named", unixRow(7, "/run/a b"), nil, []string{"7 /run/a b"}},
		{"no name", unixRow(7, "") + unixRow(8, ""), nil, []string{"7 ", "8 "}},
		{"abstract", unixRow(7, "\x00a\x00b"), UnixNames{7: "\x00a\x00b"}, []string{"7 @a\x00b abstract"}},
		{"abstract, not named", unixRow(7, "\x00a\x00b"), nil, []string{"7 @a@b"}},
		{"a file with @", unixRow(7, "@a"), UnixNames{7: "@a"}, []string{"7 @a"}},
		{"forged row", unixRow(7, forged) + unixRow(8, "/x"), UnixNames{7: forged, 8: "/x"}, []string{"7 " + forged, "8 /x"}},
		{"forged row, not named", unixRow(7, forged) + unixRow(8, "/x"), nil, []string{"7 /tmp/a cut", "bogus"}},
		{"row that may be forged", unixRow(7, "/a") + unixRow(8, "/b"), nil, []string{"7 /a cut", "bogus"}},
		{
			"forged row of another form", unixRow(7, "/a\n0: 2 0 10000 1 1 424242 /forged") + unixRow(8, strings.Repeat("x", 100)), nil,
			[]string{"7 /a\n0: 2 0 10000 1 1 424242 /forged cut", "bogus"},
		},
		{"a name too long to go on", unixRow(7, "/"+strings.Repeat("x", 80)) + unixRow(8, ""), nil, []string{"7 /" + strings.Repeat("x", 80), "8 "}},
		{"bound after the names were read", unixRow(7, "/a") + unixRow(8, ""), UnixNames{7: "", 8: ""}, []string{"7 /a cut", "bogus"}},
		{"after a row that may be forged", unixRow(7, "/a") + unixRow(8, "/b") + unixRow(9, "/c"), nil, []string{"7 /a cut", "bogus"}},
		{"after one without a name", unixRow(7, "/"+strings.Repeat("a", 40)) + unixRow(8, "") + unixRow(9, ""), nil, []string{"7 /" + strings.Repeat("a", 40) + " cut", "bogus", "9 "}},
		{"in an accept queue", unixRow(0, "/a b") + unixRow(8, ""), UnixNames{9: "/a b", 8: ""}, []string{"0 /a b", "8 "}},
		{"no row", "x\n" + unixRow(7, ""), nil, []string{"bogus", "7 "}},
		{"no newline at the end", strings.TrimSuffix(unixRow(7, "/a"), "\n"), nil, []string{"7 /a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for u, err := range ParseNamedUnix([]byte(unixTitle+tt.file), tt.names) {
				if errors.Is(err, ErrBogus) {
					got = append(got, "bogus")
					continue
				}
				text := fmt.Sprint(u.Inode, " ", u.Path)
				if u.Abstract {
					text += " abstract"
				}
				if u.Cut {
					text += " cut"
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// unixTables draws a table with names as a hostile user would choose them: many are
// rows of the table themselves.
func unixTables() *rapid.Generator[UnixNames] {
	return rapid.Custom(func(t *rapid.T) UnixNames {
		names := UnixNames{}
		for inode := range uint64(rapid.IntRange(1, 8).Draw(t, "sockets")) {
			parts := rapid.SliceOfN(rapid.OneOf(
				rapid.SampledFrom([]string{"", "/a", "\n", " ", "\x00", "@", "/run/some/where/else"}),
				rapid.Custom(func(t *rapid.T) string {
					return "\n" + unixRow(rapid.Uint64Range(0, 99).Draw(t, "inode"), rapid.SampledFrom([]string{"", "/f"}).Draw(t, "forged"))
				}),
			), 0, 4).Draw(t, "name")
			name := strings.Join(parts, "")
			names[inode+1] = name[:min(len(name), unixNameMax)]
		}
		for inode, name := range names {
			if !strings.HasPrefix(name, "\x00") {
				names[inode] = string(cString([]byte(name))) // the NUL ends the name of a file
			}
		}
		return names
	})
}

// TestNamedUnixForgesNothing checks that with the names each socket is a row with
// its name, and that without them each row is a socket, and each name that is not
// said to be cut is its own.
func TestNamedUnixForgesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := unixTables().Draw(t, "names")
		file := unixTitle
		for inode := range uint64(len(names)) {
			file += unixRow(inode+1, names[inode+1])
		}
		got := UnixNames{}
		for u, err := range ParseNamedUnix([]byte(file), names) {
			if err != nil {
				t.Fatalf("a line is not a row: %q", file)
			}
			if u.Abstract {
				u.Path = "\x00" + u.Path[1:]
			}
			got[u.Inode] = u.Path
		}
		if diff := cmp.Diff(names, got); diff != "" {
			t.Errorf("with the names (-want +got):\n%s", diff)
		}
		last := uint64(0)
		for u, err := range ParseNamedUnix([]byte(file), nil) {
			if err != nil {
				continue
			}
			name, ok := names[u.Inode]
			if !ok || u.Inode <= last {
				t.Fatalf("row %d is forged: %q", u.Inode, file)
			}
			last = u.Inode
			if text := inProc(name); !u.Cut && u.Path != text || !strings.HasPrefix(text, u.Path) {
				t.Errorf("name %q, want %q, cut %v", u.Path, text, u.Cut)
			}
		}
	})
}

// TestReadNamedUnix asks the kernel about sockets with hostile names. The judge is
// the name that each was bound to.
func TestReadNamedUnix(t *testing.T) {
	if _, err := ReadUnixNames(); err != nil {
		t.Skipf("the kernel does not name Unix sockets: %v", err)
	}
	// Tests before this one may have left the main thread, whose files those of /proc
	// are, in a namespace of theirs.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t.Chdir(t.TempDir())
	forged := "s\n" + strings.TrimSuffix(unixRow(424242, "/forged"), "\n")
	if err := os.Mkdir(filepath.Dir(forged), 0o700); err != nil {
		t.Fatal(err)
	}
	want := UnixNames{}
	for _, name := range []string{"a b", "@file", forged, "\x00ab\x00c" + filepath.Base(t.TempDir()), "\x00" + forged, ""} {
		want[bindUnix(t, name)] = name
	}
	got := UnixNames{}
	rows, err := ReadNamedUnix("/proc/thread-self", ReadUnixNames)
	if err != nil {
		t.Fatal(err)
	}
	for u, err := range rows {
		if u.Inode == 424242 {
			t.Errorf("a forged row: %q", u.Path)
		}
		if _, ours := want[u.Inode]; !ours || err != nil {
			continue
		}
		if u.Abstract {
			u.Path = "\x00" + u.Path[1:]
		}
		if u.Cut {
			t.Errorf("name %q is said to be cut", u.Path)
		}
		got[u.Inode] = u.Path
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// bindUnix binds a socket to a name, unless that is empty, and returns its inode.
func bindUnix(t *testing.T, name string) (inode uint64) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { _ = f.Close() })
	if name != "" {
		if err := bindUnixName(fd, name); err != nil {
			t.Fatalf("bind %q: %v", name, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// bindUnixName makes the system call: unix.Bind takes "@" for a NUL.
func bindUnixName(fd int, name string) error {
	address := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	for i := range len(name) {
		address.Path[i] = int8(name[i])
	}
	size := 2 + uintptr(len(name))
	if _, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&address)), size); errno != 0 {
		return errno
	}
	return nil
}
