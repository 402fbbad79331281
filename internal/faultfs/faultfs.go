// Package faultfs is a file system for tests, which fails as it is told. The kernel asks
// it by FUSE, so that a program under test gets its errors from the kernel's own write(2)
// and open(2): EIO of a broken disk, EDQUOT of a full quota, ENOTCONN of a server that is
// gone. It has one directory with files in memory.
//
// A process of its own serves it, as the Go runtime may wait for a file with all of its
// threads (epoll_ctl asks the server too): the test binary is started again, and has to
// call Main.
package faultfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// FS is a mounted file system. One goroutine uses it.
type FS struct {
	t      testing.TB
	dir    string
	server *exec.Cmd
	in     io.WriteCloser
	ask    *json.Encoder
	answer *json.Decoder
}

// Call is what may fail.
type Call string

// The calls.
const (
	Open  Call = "open"  // open(2) and stat(2) of a file, and making one
	Write Call = "write" // write(2)
	Close Call = "close" // close(2): what a server could not store shows late
)

// order is what the test tells the server. Its answer is a text.
type order struct {
	What     string // fail, works, read, remove or rename
	Name, To string // of files
	Call     Call
	Errno    syscall.Errno
	Room     int
}

// roleVar is set in the process that serves.
const roleVar = "NETTRACE_FAULTFS"

// Main serves, if Mount has started this process for that, and exits.
func Main() {
	if os.Getenv(roleVar) == "" {
		return
	}
	s := newServer(os.NewFile(3, "/dev/fuse"))
	go s.obey(os.Stdin, os.Stdout)
	s.serve()
	os.Exit(0)
}

// Mount mounts a file system on a directory for the time of the test. It needs a
// privileged user and FUSE in the kernel, else it skips the test.
func Mount(t testing.TB, dir string) *FS {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("needs FUSE and root: open /dev/fuse: ", err)
	}
	device := os.NewFile(uintptr(fd), "/dev/fuse")
	defer device.Close()
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("faultfs", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Skip("mounting a FUSE file system needs root: ", err)
	}
	fs := &FS{t: t, dir: dir}
	t.Cleanup(func() {
		fs.Die()
		fs.Leave()
	})
	if err := fs.start(device); err != nil {
		t.Fatal(err)
	}
	return fs
}

// start starts the process that serves.
func (fs *FS) start(device *os.File) error {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), roleVar+"=1")
	cmd.ExtraFiles = []*os.File{device}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2, cmd.Start()); err != nil {
		return err
	}
	fs.server, fs.in, fs.ask, fs.answer = cmd, in, json.NewEncoder(in), json.NewDecoder(out)
	return nil
}

func (fs *FS) tell(o *order) (text string) {
	fs.t.Helper()
	if err := errors.Join(fs.ask.Encode(o), fs.answer.Decode(&text)); err != nil {
		fs.t.Fatalf("the server of the file system: %v", err)
	}
	return text
}

// Fail has a call fail from now on. Of Write, room bytes are taken before.
func (fs *FS) Fail(call Call, errno syscall.Errno, room int) {
	fs.t.Helper()
	fs.tell(&order{What: "fail", Call: call, Errno: errno, Room: room})
}

// Works ends all that Fail has asked for.
func (fs *FS) Works() {
	fs.t.Helper()
	fs.tell(&order{What: "works"})
}

// Read returns what a file has; "" is also that there is none.
func (fs *FS) Read(name string) string {
	fs.t.Helper()
	return fs.tell(&order{What: "read", Name: name})
}

// Remove removes a file as another client of a server would: the kernel learns of it when
// it asks.
func (fs *FS) Remove(name string) {
	fs.t.Helper()
	fs.tell(&order{What: "remove", Name: name})
}

// Rename renames a file as another client of a server would.
func (fs *FS) Rename(from, to string) {
	fs.t.Helper()
	fs.tell(&order{What: "rename", Name: from, To: to})
}

// Die kills the server: the mount stays, and each call fails with ENOTCONN.
func (fs *FS) Die() {
	if fs.server == nil {
		return
	}
	_ = fs.server.Process.Kill()
	_ = fs.server.Wait() // it was killed
	_ = fs.in.Close()
	fs.server = nil
}

// Leave unmounts the file system.
func (fs *FS) Leave() { _ = unix.Unmount(fs.dir, unix.MNT_DETACH) }
