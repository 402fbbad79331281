package output

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

type deviceNames map[uint32]string

func (d deviceNames) Device(_, index uint32) string { return d[index] }

// TestNDJSONZones checks which addresses have a zone, and which.
func TestNDJSONZones(t *testing.T) {
	names := deviceNames{3: "eth0", 4: "\"x\n"}
	for _, tt := range []struct {
		local, remote string
		device        uint32
		want          string
	}{
		{"[fe80::1]:1", "[fe80::2]:2", 3, `"local_addr":"fe80::1%eth0","local_port":1,"remote_addr":"fe80::2%eth0","remote_port":2,"iface":"eth0"`},
		{"[fe80::1]:1", "[::]:0", 3, `"local_addr":"fe80::1%eth0","local_port":1,"remote_addr":"::","iface":"eth0"`},
		{"[fe80::1]:1", "[::]:0", 7, `"local_addr":"fe80::1%7","local_port":1,"remote_addr":"::"}`},
		{"[fe80::1]:1", "[::]:0", 0, `"local_addr":"fe80::1","local_port":1,"remote_addr":"::"}`},
		{"[ff02::1]:1", "[::]:0", 3, `"local_addr":"ff02::1%eth0","local_port":1,"remote_addr":"::","iface":"eth0"`},
		{"[fe80::1]:1", "[::]:0", 4, `"local_addr":"fe80::1%\"x\n","local_port":1,"remote_addr":"::","iface":"\"x\n"`},
		{"[2001:db8::1]:1", "[::]:0", 3, `"local_addr":"2001:db8::1","local_port":1,"remote_addr":"::","iface":"eth0"`},
		{"169.254.0.1:1", "0.0.0.0:0", 3, `"local_addr":"169.254.0.1","local_port":1,"remote_addr":"0.0.0.0","iface":"eth0"`},
		{"[::ffff:169.254.0.1]:1", "[::]:0", 3, `"local_addr":"::ffff:169.254.0.1","local_port":1,"remote_addr":"::","iface":"eth0"`},
	} {
		head := snapshot.Head{
			Local: netip.MustParseAddrPort(tt.local), Remote: netip.MustParseAddrPort(tt.remote),
			State: snapshot.Established, Device: tt.device,
		}
		var out strings.Builder
		w := newWriter(&out, NDJSONOptions{Devices: names})
		w.Change(&table.Change{Time: 1, Old: snapshot.SynSent, New: snapshot.Established, Conn: &table.Conn{Head: head}})
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		checkLines(t, []byte(out.String()))
		want := strings.TrimSuffix(tt.want, "}")
		if !strings.Contains(out.String(), want) || want != tt.want && strings.Contains(out.String(), `"iface"`) {
			t.Errorf("%s on %d: want %s in %s", tt.local, tt.device, tt.want, out.String())
		}
	}
}
