package tracer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
)

// needed names, for kernels that must have them, the hook of each capability
// when those before it on the ladder are left out.
var needed = []struct {
	kinds string // hooks to try
	want  map[Capability]string
	since string // kernel of make test-kernels; empty: all
}{
	{"tp_btf,fentry,fexit,iter,sock_diag", map[Capability]string{
		Transitions: "tp_btf/inet_sock_set_state",
		MiniSockets: "tp_btf/timer_start",
		SourcePort:  "fentry/tcp_connect",
		Substate:    "fentry/__inet_twsk_schedule",
		Acceptor:    "fexit/", // __inet_accept or inet_accept
		Closer:      "fentry/tcp_close",
		Resets:      "tp_btf/tcp_send_reset",
		TimewaitEnd: "fexit/tcp_timewait_state_process",
		Connects:    "fexit/tcp_v4_connect",
		Rows:        "sock_diag/tcp",
		SocketOpen:  "fexit/inet_create",
		SocketBind:  "fexit/udp_lib_get_port",
		SocketPeer:  "fexit/__ip4_datagram_connect",
		SocketClose: "fentry/sk_common_release",
		RawBind:     "fexit/raw_bind",

		UnixOpen:     "f",           // the function takes other arguments before 5.15
		UnixName:     "fexit/unix_", // and this one before 5.17
		UnixListen:   "fexit/unix_listen",
		UnixConnect:  "fexit/unix_stream_connect",
		UnixLostPeer: "fentry/unix_dgram_disconnected",
	}, ""},
	{"tp_btf,kprobe,kretprobe,cgroup,iter", map[Capability]string{
		SourcePort: "kprobe/tcp_connect",
		Substate:   "kprobe/__inet_twsk_schedule",
		Acceptor:   "kretprobe/inet_csk_accept",

		SocketOpen:   "kretprobe/inet_create",
		SocketBind:   "kretprobe/udp_lib_get_port",
		SocketPeer:   "kretprobe/__ip4_datagram_connect",
		SocketClose:  "kprobe/sk_common_release",
		SocketFamily: "kretprobe/ipv6_setsockopt",
		RawBind:      "kretprobe/raw_bind",

		UnixOpen:     "kretprobe/unix_create1",
		UnixName:     "kretprobe/unix_bind",
		UnixListen:   "kretprobe/unix_listen",
		UnixConnect:  "kretprobe/unix_stream_connect",
		UnixLostPeer: "kprobe/unix_dgram_disconnected",
	}, ""},
	{"tp_btf,sockops,cgroup,syscall,iter", map[Capability]string{
		SourcePort: "sockops/", // tcp_connect, or port
		Substate:   "syscall/refresh",
		Closer:     "cgroup/sock_release",
		Files:      "iter/task_file",

		SocketOpen:  "cgroup/sock_create",
		SocketBind:  "cgroup/post_bind4",
		SocketPeer:  "cgroup/connect4",
		SocketClose: "cgroup/sock_release",
		SocketFiles: "iter/task_file",
		UnixRows:    "iter/unix",
	}, "6.1"},
}

// TestHooks wants every program to load and attach where its kernel has it, with a
// condition too.
func TestHooks(t *testing.T) {
	for _, c := range []*snapshot.Condition{nil, someSockets()} {
		t.Run(fmt.Sprintf("condition=%t", c != nil), func(t *testing.T) { loadHooks(t, c) })
	}
}

func loadHooks(t *testing.T, c *snapshot.Condition) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
	machine := os.Getenv("NETTRACE_VM") != ""
	// The verifier's log decides which of two loaders is used.
	for _, logs := range []bool{false, true} {
		for _, n := range needed {
			t.Run(fmt.Sprintf("%s,logs=%t", n.kinds, logs), func(t *testing.T) {
				if n.since != "" && os.Getenv("NETTRACE_KERNEL") == "5.10" {
					t.Skip("needs socket cookies in tracing programs (Linux 5.12)")
				}
				if !machine && n.since == "" {
					t.Skip("needs fentry and kprobes, which the kernels of make test-kernels have")
				}
				tr, err := Open(Options{Hooks: strings.Split(n.kinds, ","), Logs: logs, Condition: c, Protocols: TCP | inet | Unix})
				if err != nil {
					if !machine {
						t.Skip("this machine cannot trace: ", err)
					}
					t.Fatal(err)
				}
				defer tr.Close()
				wantHooks(t, tr.Hooks(), n.want)
			})
		}
	}
}

// wantHooks wants the chosen hooks to be those of some capabilities.
func wantHooks(t *testing.T, hooks []Hook, want map[Capability]string) {
	t.Helper()
	chosen := make(map[Capability]string)
	for _, h := range hooks {
		if h.Chosen {
			chosen[h.Capability] = h.Name
		} else if h.Err != nil {
			t.Logf("%s: %s", h.Name, h.Reason())
		}
	}
	for c, want := range want {
		if c == TimewaitEnd && os.Getenv("NETTRACE_KERNEL") == "5.10" {
			continue // needs bpf_get_func_ret (Linux 5.17)
		}
		if !strings.HasPrefix(chosen[c], want) {
			t.Errorf("%s by %q, want %q", c, chosen[c], want)
		}
	}
}

func TestCgroupRoot(t *testing.T) {
	for _, c := range []struct{ name, mountinfo, want string }{
		{
			"unified", "24 1 0:21 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup",
		},
		{
			"hybrid", "30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n" +
				"31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified",
		},
		{
			// A part of the hierarchy sees the sockets of that part only.
			"bind mount of a part", "24 1 0:21 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "",
		},
		{"none", "22 1 0:20 / /proc rw - proc proc rw\nshort\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "mountinfo")
			if err := os.WriteFile(path, []byte(c.mountinfo), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := cgroupRoot(path)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestTimerFunctions(t *testing.T) {
	for _, c := range []struct {
		name, kallsyms string
		want           timers
	}{
		{"shown", "ffffffff81000000 T _text\nffffffff82006070 t tw_timer_handler\nffffffff820085b0 t reqsk_timer_handler\n", timers{0xffffffff82006070, 0xffffffff820085b0}},
		{"hidden", "0000000000000000 t tw_timer_handler\n0000000000000000 t reqsk_timer_handler\n", timers{}},
		{"one missing", "ffffffff82006070 t tw_timer_handler\n", timers{tw: 0xffffffff82006070}},
		{"others", "ffffffff82006070 t not_tw_timer_handler\nxx t tw_timer_handler\n", timers{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kallsyms")
			if err := os.WriteFile(path, []byte(c.kallsyms), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := timerFunctions(path); got != c.want {
				t.Errorf("%#x, want %#x", got, c.want)
			}
		})
	}
}

// The cgroup hooks work where the hierarchy is not mounted, as below ip netns exec.
func TestMountCgroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts the cgroup v2 hierarchy for itself")
	}
	fd, err := mountCgroup()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Errorf("type %#x, %v", st.Type, err)
	}
}

// TestNoIteratorOfSockets wants no program that walks the kernel's TCP sockets: see "Where
// the rows come from" in ARCHITECTURE.md.
func TestNoIteratorOfSockets(t *testing.T) {
	iterators := 0
	for _, read := range (&settings{extent: extent{protocols: TCP | inet | Unix}}).objects() {
		spec, err := read()
		if err != nil {
			t.Fatal(err)
		}
		for name, p := range spec.Programs {
			if !strings.HasPrefix(p.SectionName, "iter") {
				continue
			}
			iterators++
			if !slices.Contains([]string{"iter/task_file", "iter/task", "iter/unix"}, p.SectionName) {
				t.Errorf("program %s is in section %s", name, p.SectionName)
			}
		}
	}
	if iterators == 0 {
		t.Error("the objects have no iterators: the test tests nothing")
	}
}

// TestAskTimers asks the kernel for the timer functions, and reads what it shows in
// kallsyms: both are the same.
func TestAskTimers(t *testing.T) {
	h, err := newHooks((&Tracer{opts: Options{RingBytes: DefaultRingBytes}}).settings())
	if err != nil {
		t.Skip("this machine cannot trace: ", err)
	}
	defer h.close()
	want := timerFunctions(kernelSymbols)
	if err := (timers{1, 1}).write(h); err != nil {
		t.Fatal(err)
	}
	err = h.askTimers()
	if old := os.Getenv("NETTRACE_KERNEL"); err != nil && (old == "5.10" || want.tw == 0) {
		t.Skip("the helper needs Linux 5.16, and addresses that are not hidden: ", err)
	}
	var got timers
	if err := errors.Join(err, h.maps.Variables[streamVarTwTimerHandler].Get(&got.tw),
		h.maps.Variables[streamVarReqskTimerHandler].Get(&got.reqsk)); err != nil {
		t.Fatal(err)
	}
	if got != want || got.tw == 0 {
		t.Errorf("the kernel says %#x, kallsyms %#x", got, want)
	}
}

// TestFallible says of which programs every copy may be skipped for one event: of those on
// tracepoints that have a copy, where the kernel preempts them alone.
func TestFallible(t *testing.T) {
	for _, c := range []struct {
		hook     string
		programs copies
		preempts bool
		want     int
	}{
		{"tp_btf/inet_sock_set_state", copies{"a", "b", "c"}, false, 0},
		{"tp_btf/inet_sock_set_state", copies{"a", "b", "c"}, true, 1},
		{"tp_btf/timer_start", copies{"a"}, false, 1},
		{"fentry/tcp_connect", copies{"a", "b"}, false, 1},
	} {
		var h hooks
		h.set.threeCopies = c.preempts
		h.chose(candidate{name: c.hook, programs: []copies{c.programs}})
		if len(h.fallible) != c.want || len(h.copies) != 1 {
			t.Errorf("%s, preempted %t: %v of %v", c.hook, c.preempts, h.fallible, h.copies)
		}
	}
}
