// Package service tells the service manager how a run stands, as sd_notify(3) has it:
// when it is ready, that it lives, that it reopens its files, and when it ends. Without a
// service manager (NOTIFY_SOCKET) nothing is told.
package service

import (
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
)

// Manager is an output of a run that tells the service manager. The signs of life come
// from the goroutine of the run itself, so that they end where it hangs.
type Manager struct {
	stream.Nop
	every time.Duration // between signs of life; 0: none is asked for
	next  time.Time     // when the next one is due; zero: the run is not ready
}

var _ stream.Handler = (*Manager)(nil)

// Handlers returns the output of a run that tells the service manager, or none where there
// is no service manager.
func Handlers() []stream.Handler {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	// A value that cannot be read asks for nothing.
	limit, _ := daemon.SdWatchdogEnabled(false)
	return []stream.Handler{&Manager{every: limit / 3}}
}

// Idle says that the run is ready when it is called first: the initial table was told.
// After that it says that the run lives.
func (m *Manager) Idle() error {
	now := time.Now()
	switch {
	case m.next.IsZero():
		tell(daemon.SdNotifyReady)
	case m.every == 0 || now.Before(m.next):
		return nil
	default:
		tell(daemon.SdNotifyWatchdog)
	}
	m.next = now.Add(m.every)
	return nil
}

// Stop says that the run ends.
func (m *Manager) Stop(*output.Totals, string) error {
	tell(daemon.SdNotifyStopping)
	return nil
}

// Reload says that a run reloads while reload is called.
func Reload(reload func()) {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it cannot fail
	tell(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
	reload()
	tell(daemon.SdNotifyReady)
}

// tell sends a state. A service manager that does not listen is not told: the run is
// worth more than its supervision.
func tell(state string) { _, _ = daemon.SdNotify(false, state) }
