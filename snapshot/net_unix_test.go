package snapshot

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseUnix(t *testing.T) {
	const header = "Num       RefCount Protocol Flags    Type St Inode Path\n"
	listener := UnixSocket{RefCount: 2, Flags: UnixAccepting, Type: 1, State: 1, Inode: 17, HasInode: true, Path: "/run/x"}
	tests := []struct {
		name, file string
		want       []UnixSocket
		bogus      int
	}{
		{"listener", header + "ffff0000: 00000002 00000000 00010000 0001 01    17 /run/x\n", []UnixSocket{listener}, 0},
		{"name with a space", header + "ffff0000: 00000002 00000000 00010000 0001 01    17 /run/x y\n", []UnixSocket{listener}, 0},
		{"no name", header + "(nil): 3 0 0 2 3 18\n", []UnixSocket{{RefCount: 3, Type: 2, State: 3, Inode: 18, HasInode: true}}, 0},
		{"name with a newline", header + "0: 1 0 0 1 1 1 @a\nb: c\n", []UnixSocket{{RefCount: 1, Type: 1, State: 1, Inode: 1, HasInode: true, Path: "@a"}}, 1},
		{"without inodes", strings.Replace(header, "Inode", "", 1) + "0: 1 0 0 1 1 /x\n", []UnixSocket{{RefCount: 1, Type: 1, State: 1, Path: "0"}}, 0},
		{"state missing", header + "0: 1 0 0 1\n", nil, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []UnixSocket
			bogus := 0
			for u, err := range ParseUnix([]byte(tt.file)) {
				if errors.Is(err, ErrBogus) {
					bogus++
					continue
				}
				got = append(got, u)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || bogus != tt.bogus {
				t.Errorf("%d bogus lines, want %d; rows (-want +got):\n%s", bogus, tt.bogus, diff)
			}
		})
	}
}

// FuzzParseUnix checks that a name ends at white space, so that a row is never
// printed as two lines.
func FuzzParseUnix(f *testing.F) {
	f.Add([]byte("Inode\nffff0000: 00000002 00000000 00010000 0001 01    17 /run/x\n"))
	f.Add([]byte("\n(nil): 1 0 0 1 1 1 a\x00b\xff"))
	f.Fuzz(func(t *testing.T, file []byte) {
		for u, err := range ParseUnix(file) {
			if err != nil && !errors.Is(err, ErrBogus) {
				t.Fatal(err)
			}
			if strings.ContainsAny(u.Path, " \t\n\v\f\r\x00") {
				t.Errorf("white space in the name %q", u.Path)
			}
		}
	})
}
