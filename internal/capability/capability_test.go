package capability

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAllows(t *testing.T) {
	admin := Set(1 << unix.CAP_SYS_ADMIN)
	for number, want := range map[uint]bool{
		unix.CAP_BPF: true, unix.CAP_PERFMON: true, unix.CAP_NET_ADMIN: true, unix.CAP_SYS_ADMIN: true,
		unix.CAP_SYSLOG: false, unix.CAP_SYS_PTRACE: false,
	} {
		if got := admin.Allows(number); got != want {
			t.Errorf("CAP_SYS_ADMIN allows capability %d: %v, want %v", number, got, want)
		}
	}
	if s := Set(1 << unix.CAP_BPF); !s.Has(unix.CAP_BPF) || s.Has(unix.CAP_PERFMON) || s.Allows(unix.CAP_PERFMON) {
		t.Error("CAP_BPF alone is taken for something else")
	}
}

func TestExplainLeavesOtherErrors(t *testing.T) {
	err := errors.New("no such program")
	if got := Explain(err); got != err { //nolint:errorlint // the same error is wanted, not one that wraps it
		t.Errorf("it became %v", got)
	}
}
