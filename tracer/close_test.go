package tracer

import (
	"testing"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
)

// TestForeignCloses has connections in another network namespace than the one that is
// traced, with the hook for closes that every socket of the machine meets. None of
// them takes room in the ring buffer.
func TestForeignCloses(t *testing.T) {
	const connections = 300
	for _, set := range hookSets {
		t.Run(set.name, func(t *testing.T) {
			skipSet(t, set.kinds)
			w := startWatch(t, Options{NetnsPath: testnet.New(t), Hooks: set.kinds, Reconcile: -1})
			w.table()
			other := testnet.New(t)
			server, err := load.Start(load.Server(), other)
			if err != nil {
				t.Fatal(err)
			}
			client, err := load.Start(load.Client(0, connections, load.FIN), other)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range []func() error{client.Go, client.Done, client.Stop, server.Stop} {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
			w.table()
			w.stop()
			// Processes that hold no socket of the namespace are no events; the end of a scan is one.
			if n := w.tracer.Stats().Events; n >= connections {
				t.Errorf("%d records came of a namespace without sockets", n)
			}
		})
	}
}
