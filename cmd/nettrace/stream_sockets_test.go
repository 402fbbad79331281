package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/netns"
)

// madeSocket is a socket that the test has made, as the kernel tells of it to who has it.
type madeSocket struct {
	cookie, inode string
	what          string // transport and history as a record has to have them
}

// judged asks the kernel for the cookie and the inode of a socket.
func judged(fd int, what string) (madeSocket, error) {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return madeSocket{}, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return madeSocket{strconv.FormatUint(cookie, 10), strconv.FormatUint(st.Ino, 10), what}, err
}

// playSockets makes sockets of several kinds and closes them.
func playSockets(path string) (made []madeSocket, err error) {
	home := [4]byte{127, 0, 0, 1}
	for _, scene := range []struct {
		domain, kind, protocol int
		what                   string
		steps                  []unix.Sockaddr // bind, then connect
	}{
		{unix.AF_INET, unix.SOCK_DGRAM, 0, "udp open>bind", []unix.Sockaddr{&unix.SockaddrInet4{Port: 5353, Addr: home}, nil}},
		{unix.AF_INET, unix.SOCK_DGRAM, 0, "udp open>bind>connect", []unix.Sockaddr{&unix.SockaddrInet4{Port: 5354, Addr: home}, &unix.SockaddrInet4{Port: 53, Addr: home}}},
		{unix.AF_INET6, unix.SOCK_DGRAM, 0, "udp open>bind", []unix.Sockaddr{&unix.SockaddrInet6{Port: 5355}, nil}},
		{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, "raw open", []unix.Sockaddr{nil, nil}},
		{unix.AF_UNIX, unix.SOCK_DGRAM, 0, "unix bind", []unix.Sockaddr{&unix.SockaddrUnix{Name: path}, nil}},
	} {
		fd, err := unix.Socket(scene.domain, scene.kind|unix.SOCK_CLOEXEC, scene.protocol)
		if err != nil {
			return made, err
		}
		for i, step := range []func(int, unix.Sockaddr) error{unix.Bind, unix.Connect} {
			if scene.steps[i] != nil && err == nil {
				err = step(fd, scene.steps[i])
			}
		}
		if err != nil {
			return made, err
		}
		m, err := judged(fd, scene.what)
		if err != nil {
			return made, err
		}
		made = append(made, m)
		if scene.domain == unix.AF_UNIX { // where Unix sockets are polled, a shorter life is missed
			time.Sleep(time.Second)
		}
		if err := unix.Close(fd); err != nil {
			return made, err
		}
	}
	return made, nil
}

// TestStreamSockets checks what the records say of UDP, raw and Unix sockets. The kernel
// is the judge: it tells their cookies and inodes to who has them.
func TestStreamSockets(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/nettrace.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	space := newNetns(t)
	path := filepath.Join(t.TempDir(), "sock")
	tr := trace(t, space, "", "-uwx")
	var made []madeSocket
	if err := netns.Do(space, func() (err error) {
		made, err = playSockets(path)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	tr.wait("socket_close", len(made))
	tr.stop()
	text, err := os.ReadFile(tr.path)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{} // what the closes say, by cookie or inode
	for line := range bytes.Lines(text) {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		r, _ := value.(map[string]any)
		if r["event"] != "socket_close" {
			continue
		}
		is := textOfMember(r["transport"]) + " " + textOfMember(r["history"])
		if r["transport"] == "unix" {
			is = strings.Replace(is, "open>", "", 1) // an inexact hook may not see it
			if r["path"] != path {
				t.Errorf("the path is %v, want %s", r["path"], path)
			}
		} else if pid := textOfMember(r["pid"]); pid != strconv.Itoa(os.Getpid()) || r["reason"] != "close" {
			t.Errorf("pid %s, want %d, and reason %v, want close: %s", pid, os.Getpid(), r["reason"], line)
		}
		told[textOfMember(r["inode"])] = is
		if cookie := textOfMember(r["cookie"]); cookie != "" && !slices.ContainsFunc(made, func(m madeSocket) bool { return m.cookie == cookie }) {
			t.Errorf("the cookie %s is that of no socket: %s", cookie, line)
		}
	}
	want := map[string]string{}
	for _, m := range made {
		want[m.inode] = m.what
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-made +told):\n%s\n%s", diff, text)
	}
}

// textOfMember returns a member as text.
func textOfMember(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case interface{ String() string }:
		return v.String()
	}
	return ""
}

// TestSocketsOfStreamText checks that the text has netstat's tables of what is named, and
// that -u alone has no TCP.
func TestSocketsOfStreamText(t *testing.T) {
	space := newNetns(t)
	for option, want := range map[string][]string{
		"-uac": {"Active Internet", "127.0.0.1:5353", " bind ", " close "},
		"-xac": {"Active UNIX"},
	} {
		t.Run(option, func(t *testing.T) {
			stdout, _ := textDuring(t, space, option, func() {
				if err := netns.Do(space, func() error {
					_, err := playSockets(filepath.Join(t.TempDir(), "s"))
					return err
				}); err != nil {
					t.Error(err)
				}
			})
			for _, text := range want {
				if !strings.Contains(stdout, text) {
					t.Errorf("no %q in:\n%s", text, stdout)
				}
			}
			if n := strings.Count(stdout, "Active "); n != 1 || strings.Contains(stdout, "tcp ") {
				t.Errorf("%d tables, want one, and no TCP:\n%s", n, stdout)
			}
		})
	}
}
