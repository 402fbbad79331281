package ship

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// TestSockets has nettrace send the same records to a file and to sockets of each
// shipper, Unix and TCP, at once. Telegraf gets the closes.
func TestSockets(t *testing.T) {
	t.Parallel()
	netns := newNetns(t)
	receivers := []receiver{
		{shipper: asSocket(rsyslog, "rsyslog-socket.conf"), unix: "unix"},
		{shipper: asSocket(syslogNG, "syslog-ng-socket.conf"), unix: "unixgram"},
		{shipper: asSocket(telegraf, "telegraf-socket.conf"), unix: "unix", with: ",events=close"},
	}
	dir := t.TempDir()
	all, closes := filepath.Join(dir, "all"), filepath.Join(dir, "closes")
	outputs := []string{all, closes + ",events=close"}
	for i := range receivers {
		outputs = append(outputs, receivers[i].run(t, netns, 5141+i)...)
	}
	tr := traceIn(t, netns, all, outputs...)
	tr.connect(2_000, load.RST)
	tr.connect(1_000, load.Refused)
	tr.connect(1_000, load.FIN)
	files := map[string]string{"": all, ",events=close": closes}
	for i := range receivers { // at the end they would have 5 s
		r := &receivers[i]
		quiet(t, files[r.with])
		r.receives(len(readWritten(t, files[r.with]).lines))
	}
	tr.stop()
	for i := range receivers {
		r := &receivers[i]
		w := readWritten(t, files[r.with])
		r.receives(len(w.lines))
		r.check(w)
	}
}

// receiver is a shipper that has sockets, a Unix one and a TCP one.
type receiver struct {
	shipper
	unix string // kind of its Unix socket
	with string // keys of its outputs
	*running
}

// asSocket is a shipper with its recipe for sockets.
func asSocket(s shipper, recipe string) shipper {
	s.recipe, s.another = recipe, true
	return s
}

// run starts a receiver in a network namespace, waits until its sockets are there and
// returns the outputs that go to them.
func (r *receiver) run(t *testing.T, netns string, port int) []string {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", port)
	r.running = r.runIn(t, netns, "5140", fmt.Sprint(port))
	await(t, "the socket of "+r.shipper.name, func() bool {
		return probe(t, netns, r.unix, r.path("sock")) == nil &&
			probe(t, netns, "tcp", address) == nil
	})
	return []string{r.unix + ":" + r.path("sock") + r.with, "tcp:" + address + r.with}
}

// probe connects to a socket and sends nothing.
func probe(t *testing.T, netns, network, address string) error {
	t.Helper()
	err := errors.New("no thread in the namespace")
	inNetns(t, netns, func() {
		var c net.Conn
		if c, err = net.DialTimeout(network, address, time.Second); err == nil {
			_ = c.Close()
		}
	})
	return err
}

// receives waits until n records came by each socket.
func (r *receiver) receives(n int) {
	r.t.Helper()
	if r.oneFile() {
		n *= 2
	} else {
		r.followsFile("tcp.json", n)
	}
	r.follows(n)
}

// oneFile reports whether it writes what comes by either socket to one file.
func (r *receiver) oneFile() bool { return r.shipper.name == "telegraf" }

// check compares what came by each socket with what is in the file.
func (r *receiver) check(w *written) {
	r.t.Helper()
	if r.oneFile() {
		r.split()
	}
	r.checkFile("out.json", w)
	r.checkFile("tcp.json", w)
}

// split writes the lines of Telegraf by the socket that they came from.
func (r *receiver) split() {
	r.t.Helper()
	var unix, tcp strings.Builder
	for line := range strings.Lines(readFile(r.t, r.path("out.json"))) {
		if strings.Contains(line, `"socket":"tcp"`) {
			tcp.WriteString(line)
		} else {
			unix.WriteString(line)
		}
	}
	writeFile(r.t, r.path("out.json"), unix.String())
	writeFile(r.t, r.path("tcp.json"), tcp.String())
}
