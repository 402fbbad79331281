package capability

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
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

func TestOlder(t *testing.T) {
	for release, want := range map[string]bool{
		"5.10.0-33-amd64": true, "5.11.0": false, "5.4": true, "4.19-rc1": true, "6.1.0": false, "5.11-rc1": false, "": false, "six": false,
	} {
		if got := older(release, 5, 11); got != want {
			t.Errorf("%q is older: %v", release, got)
		}
	}
}

func TestWhy(t *testing.T) {
	bpf := Of(unix.CAP_BPF, unix.CAP_PERFMON)
	for _, c := range []struct {
		refusal
		want string
	}{
		{refusal{}, "CAP_PERFMON, CAP_BPF missing"},
		{refusal{caps: Of(unix.CAP_BPF), userNamespace: true, filtered: true}, "CAP_PERFMON missing"},
		{refusal{caps: Of(unix.CAP_PERFMON), countsMaps: true, limited: true}, "CAP_BPF missing"},
		{refusal{caps: bpf, userNamespace: true, filtered: true}, "user namespace"},
		{refusal{caps: bpf, filtered: true, countsMaps: true, limited: true}, "seccomp"},
		{refusal{caps: bpf, countsMaps: true, limited: true}, "CAP_SYS_RESOURCE missing"},
		{refusal{caps: bpf, countsMaps: true}, "policy"},
		{refusal{caps: bpf, limited: true}, "policy"},
		{refusal{caps: bpf | Of(unix.CAP_SYS_RESOURCE), countsMaps: true, limited: true}, "policy"},
		{refusal{caps: Of(unix.CAP_SYS_ADMIN)}, "policy"},
	} {
		if got := c.why(); !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.refusal, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	const status = "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t000000c000080000\nCapBnd: zz\n"
	if got, err := Parse(status, "CapPrm"); err != nil || got != Of(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE) {
		t.Errorf("%v, %v", got, err)
	}
	for _, which := range []string{"CapBnd", "CapEff", ""} {
		if got, err := Parse(status, which); err == nil {
			t.Errorf("%s is %v", which, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("CapEff:\t000001fffeffffff\n", "CapEff")
	f.Fuzz(func(t *testing.T, status, which string) {
		s, err := Parse(status, which)
		if err != nil && s != 0 && !strings.Contains(err.Error(), "range") {
			t.Errorf("%v, %v", s, err)
		}
		if names := s.Names(); len(names) != bits.OnesCount64(uint64(s)) {
			t.Errorf("%d capabilities are called %v", bits.OnesCount64(uint64(s)), names)
		}
	})
}

func TestExplainNoTypes(t *testing.T) {
	err := Explain(fmt.Errorf("load: %w", errors.New("no BTF found for kernel version 4.19")))
	if !errors.Is(err, ErrNoTypes) || !strings.Contains(err.Error(), "4.19") {
		t.Error(err)
	}
}
