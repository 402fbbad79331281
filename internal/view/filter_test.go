package view

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/output"
)

// loopbackNames knows one interface.
type loopbackNames struct{ filter.Names }

func (loopbackNames) Device(string) (uint32, []netip.Addr, bool) {
	return 1, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, true
}

const filteredTCP = "header\n" +
	"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0\n" +
	"   1: 0100007F:1F90 0200007F:8000 01 00000000:00000005 00:00000000 00000000  1000        0 4243 1 0 100 0 0 10 0\n" +
	"   2: 0100007F:1F91 0200007F:8001 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100 0 0 10 0\n"

// filteredFiles is a proc with sockets of each kind.
func filteredFiles(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"net/tcp": filteredTCP,
		"net/udp": "header\n  10: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 77 2 0 0\n",
		"net/sctp/eps": " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n" +
			"f f 2 10 29 11212 7 17 10.0.0.1 10.0.0.2 \n",
		"net/sctp/assocs": "header\n" +
			"f f 2 1 3 12345 1 5 6 7 18 11212 5000 10.0.0.1 10.0.0.2 <-> *10.0.0.3 10.0.0.4 	 7500 10 10 10 0 0 0\n",
		"net/unix": "Num       RefCount Protocol Flags    Type St Inode Path\n" +
			"0000000000000000: 00000002 00000000 00010000 0001 01 500 /run/App.sock\n0000000000000000: 00000003 00000000 00000000 0001 03 501\n",
	} {
		write(t, root, name, text)
	}
	return root
}

// filterOf makes a filter for a view.
func filterOf(t *testing.T, text string) *filter.Program {
	t.Helper()
	f, err := filter.Parse(text, filter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.Bind(loopbackNames{}, filter.Run{In: field.View, Marks: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFilteredRows checks which rows of the files a filter shows, and the titles.
func TestFilteredRows(t *testing.T) {
	root := filteredFiles(t)
	for _, tt := range []struct {
		text  string
		all   bool
		title string
		want  []string // the local addresses, or the names of Unix sockets
	}{
		{"uid 1000", true, "(servers and established)", []string{"127.0.0.1:8080"}},
		{"not uid 1000", false, "(w/o servers)", []string{"127.0.0.1:8081", "10.0.0.1:11212", "-"}},
		{"state time-wait", false, "(servers and established)", []string{"127.0.0.1:8081"}},
		{"state listening", false, "(servers and established)", []string{"127.0.0.1:8080", "10.0.0.1:11212", "/run/App.sock"}},
		{"sctp dst 10.0.0.4", true, "(servers and established)", []string{"10.0.0.1:11212"}},
		{"sctp src 10.0.0.2", true, "(servers and established)", []string{"10.0.0.1:11212", "10.0.0.1:11212"}},
		{"sctp dst 10.0.0.9", true, "(servers and established)", nil},
		{"sport = :53", true, "(servers and established)", []string{"0.0.0.0:53"}},
		{"recv_q = 5", true, "(servers and established)", []string{"127.0.0.1:8080"}},
		{"send_q = 5 and recv_q = 6", true, "(servers and established)", []string{"10.0.0.1:11212"}},
		{"src unix:*app*", true, "(servers and established)", []string{"/run/App.sock"}},
		{"src *", true, "(servers and established)", []string{"127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8081", "10.0.0.1:11212", "10.0.0.1:11212", "0.0.0.0:53"}},
		{"inode 501", true, "(servers and established)", []string{"-"}},
		{"iface lo and tcp", true, "(servers and established)", nil}, // fails, see below
	} {
		o := Options{All: tt.all, NumericHosts: true, NumericPorts: true, Filter: filterOf(t, tt.text)}
		r := runView(t, viewOf(o, output.Names{}), root)
		if strings.HasPrefix(tt.text, "iface") {
			if r.Status != StatusFailed || !strings.Contains(r.Stderr, "sock_diag") {
				t.Errorf("%s of files elsewhere: status %d, %s", tt.text, r.Status, r.Stderr)
			}
			continue
		}
		if r.Status != 0 || !strings.HasPrefix(r.Stdout, "Active Internet connections "+tt.title+"\n") {
			t.Errorf("%s: status %d, %s", tt.text, r.Status, r.Stdout)
		}
		got := rowsOf(r.Stdout)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", tt.text, diff, r.Stdout)
		}
	}
}

// rowsOf returns the local addresses, and the names of Unix sockets.
func rowsOf(text string) []string {
	var rows []string
	for line := range strings.Lines(text) {
		columns := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "unix"):
			if last := columns[len(columns)-1]; last[0] == '/' {
				rows = append(rows, last)
			} else {
				rows = append(rows, "-")
			}
		case strings.HasPrefix(line, "sctp"): // an endpoint has no queues
			if len(columns) == 3 {
				columns = append(columns, columns[1])
			}
			rows = append(rows, columns[3])
		case strings.HasPrefix(line, "tcp"), strings.HasPrefix(line, "udp"):
			rows = append(rows, columns[3])
		}
	}
	return rows
}

// TestFilterElsewhere checks that a filter refuses rows that it does not know.
func TestFilterElsewhere(t *testing.T) {
	for _, o := range []Options{{Groups: true}, {Families: []string{FamilyIPX}}, {Families: []string{FamilyX25}, Protocols: Protocols{TCP: true}}} {
		o.Filter = filterOf(t, "uid 0")
		var out, diag bytes.Buffer
		err := viewOf(o, output.Names{})(&out, &diag, filteredFiles(t))
		var failure *Error
		if !errors.As(err, &failure) || failure.Status != StatusUsage || out.Len() > 0 {
			t.Errorf("%+v: %v, %s", o, err, out.String())
		}
	}
}

// TestFilterOwners checks that owners are read for a filter and shown with -p alone, and
// that who may not see them is warned.
func TestFilterOwners(t *testing.T) {
	root := filteredFiles(t)
	write(t, root, "1234/cmdline", "/usr/sbin/nginx\x00-g\x00")
	write(t, root, "1234/comm", "worker\n")
	if err := errors.Join(os.Mkdir(root+"/1234/fd", 0o755), os.Symlink("socket:[4243]", root+"/1234/fd/3"), os.Symlink("/opt/nginx-1.2", root+"/1234/exe")); err != nil {
		t.Fatal(err)
	}
	for _, programs := range []bool{false, true} {
		for _, text := range []string{"pid 1234", "program nginx", "program worker", "comm worker", "exe ~ 1.2$", "cmdline ~ '-g$'", "owner files", "has pid"} {
			o := Options{All: true, NumericHosts: true, NumericPorts: true, Programs: programs, Filter: filterOf(t, text)}
			r := runView(t, viewOf(o, output.Names{}), root)
			if got := rowsOf(r.Stdout); len(got) != 1 || got[0] != "127.0.0.1:8080" {
				t.Errorf("%s: %q\n%s", text, got, r.Stdout)
			}
			if strings.Contains(r.Stdout, "1234/nginx") != programs {
				t.Errorf("%s, programs %v:\n%s", text, programs, r.Stdout)
			}
		}
	}
	if r := runView(t, viewOf(Options{All: true, Filter: filterOf(t, "pid 1234")}, output.Names{}), filteredFiles(t)); r.Stderr != "" {
		t.Errorf("nothing was denied: %s", r.Stderr)
	}
}
