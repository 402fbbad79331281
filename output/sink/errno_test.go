package sink

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/faultfs"
)

// newFaulty starts a Sink before a file of a file system that fails as it is told.
func newFaulty(t *testing.T) (fs *faultfs.FS, s *stage, path string) {
	t.Helper()
	dir := t.TempDir()
	fs = faultfs.Mount(t, dir)
	return fs, newStage(t, dir+"/out"), dir + "/out"
}

// met waits until an error was met so often, and checks that no other one was.
func (s *stage) met(errno syscall.Errno, times uint64) {
	s.t.Helper()
	until(s.t, "the error "+errno.Error(), func() bool {
		s.sink.Reopen() // else it is tried each second
		return s.sink.Stats().Written.Errors >= times
	})
	if met := s.sink.Stats().Written.ByErrno; len(met) != 1 || met[0].Errno != errno {
		s.t.Errorf("errors by number: %v, want %v alone", met, errno)
	}
}

// TestWriteErrors has write(2) fail in each way in which that of a file can: after some
// bytes, amidst a line, and then at all. One line tells it, all waits in the queue, and
// once it works again the line that was begun is finished where it was begun.
func TestWriteErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{
		unix.EIO, unix.EDQUOT, unix.ENOSPC, unix.EFBIG, unix.EROFS, unix.ESTALE,
		unix.ETIMEDOUT, unix.ENOLINK, unix.EREMOTEIO, unix.EPERM, unix.EACCES, unix.ENXIO, unix.ENODEV, unix.ENOMEM,
	} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			t.Parallel()
			fs, s, path := newFaulty(t)
			s.send(10)
			s.idle()
			fs.Fail(faultfs.Write, errno, 700) // two lines and a half
			s.send(100)
			s.told("write " + path + ": " + errno.Error() + "; it is tried again, and records wait in the queue")
			s.met(errno, 2)
			if st := s.sink.Stats(); st.Written.Up || st.Queue.Records < 90 || st.Dropped != [stages]Dropped{} {
				t.Errorf("while it fails: %+v", st)
			}
			if text := fs.Read("out"); strings.HasSuffix(text, "\n") {
				t.Errorf("no line was cut: %q", text[max(0, len(text)-20):])
			}
			s.count(1)
			fs.Works()
			s.sink.Reopen()
			s.told(path + " works again after ")
			s.send(10)
			s.end()
			s.judge(0, fs.Read("out"))
			s.count(2)
		})
	}
}

// TestWriteErrorEnd ends a run while nothing can be written: the error says so, and what
// was written is whole lines, but for the one that was cut.
func TestWriteErrorEnd(t *testing.T) {
	t.Parallel()
	fs, s, path := newFaulty(t)
	s.send(10)
	s.idle()
	fs.Fail(faultfs.Write, unix.EIO, 700)
	s.send(100)
	s.met(unix.EIO, 1)
	err := s.drain(0)
	if want := path + ": 98 records could not be delivered before the end"; err == nil || err.Error() != want {
		t.Errorf("the end: %v, want %s", err, want)
	}
	if whole := strings.Count(fs.Read("out"), "\n"); whole != 13 { // and the head
		t.Errorf("%d lines were written whole", whole)
	}
}

// TestServerGone ends the server of a file system that is a program, or another host: the
// mount stays, and each call fails. All waits until it is mounted anew.
func TestServerGone(t *testing.T) {
	t.Parallel()
	fs, s, path := newFaulty(t)
	s.send(10)
	s.idle()
	first := fs.Read("out")
	fs.Die()
	s.send(10)
	s.told("write " + path + ": transport endpoint is not connected; it is tried again")
	s.send(10)
	s.met(unix.ENOTCONN, 2)
	fs.Leave()
	s.sink.Reopen()
	s.told(path + " works again")
	s.end()
	s.judge(0, first, read(t, path)) // in what is there without the mount
}

// TestStaleFile has the file be gone on its server, while the open one is refused and
// path can be opened anew: the records go on there.
func TestStaleFile(t *testing.T) {
	t.Parallel()
	fs, s, _ := newFaulty(t)
	s.send(10)
	s.idle()
	first := fs.Read("out")
	fs.Remove("out") // by its server: the kernel is not asked
	s.send(10)
	until(t, "the new file", func() bool { return fs.Read("out") != "" })
	s.end()
	s.judge(0, first, fs.Read("out"))
}

// TestCloseErrors has close(2) fail, as it does where a server could not store what it was
// sent: that is told, once for the file that is left, and at the end.
func TestCloseErrors(t *testing.T) {
	t.Parallel()
	fs, s, path := newFaulty(t)
	s.send(10)
	s.idle()
	fs.Fail(faultfs.Close, unix.EDQUOT, 0)
	fs.Rename("out", "out.1")
	s.sink.Reopen()
	s.told("close " + path + ": disk quota exceeded; lines that were written to the file that is left may be missing there")
	s.send(10)
	s.idle()
	s.count(1)
	if err := s.drain(time.Minute); err == nil || err.Error() != "close "+path+": disk quota exceeded" {
		t.Errorf("the end: %v", err)
	}
	s.judge(0, fs.Read("out.1"), fs.Read("out"))
}

// TestOpenErrors has the renamed file's successor not be opened, for errors of a disk and
// of a quota: the records go on to the file that was opened before.
func TestOpenErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.EIO, unix.EDQUOT, unix.ENOSPC, unix.ESTALE} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			t.Parallel()
			fs, s, path := newFaulty(t)
			s.send(10)
			s.idle()
			fs.Rename("out", "out.1")
			fs.Fail(faultfs.Open, errno, 0)
			s.sink.Reopen()
			s.told("reopen: open " + path + ": " + errno.Error() + "; records go on to the file that was opened before")
			s.send(10)
			s.idle()
			fs.Works()
			s.sink.Reopen()
			until(t, "the new file", func() bool { return fs.Read("out") != "" })
			s.send(10)
			s.end()
			s.judge(0, fs.Read("out.1"), fs.Read("out"))
			s.count(1)
		})
	}
}

// TestDiskBreaks shuts down the file system of a disk under the file, as the kernel does
// when a disk fails (EXT4_IOC_SHUTDOWN). All waits until it is unmounted, goes on in what
// is there then, and on the disk once that is mounted again.
func TestDiskBreaks(t *testing.T) {
	t.Parallel()
	image, dir := newDisk(t), t.TempDir()
	mountDisk(t, image, dir, "loop")
	s, path := newStage(t, dir+"/out"), dir+"/out"
	s.send(10)
	s.idle()
	first := read(t, path)
	shutdown(t, dir)
	s.send(10)
	s.told("write " + path + ": input/output error; it is tried again, and records wait in the queue")
	s.met(unix.EIO, 2)
	must(t, unix.Unmount(dir, unix.MNT_DETACH)) // the file is open: EBUSY without
	s.sink.Reopen()
	s.told(path + " works again")
	s.idle()
	second := read(t, path)
	mountDisk(t, image, dir, "loop")
	must(t, os.RemoveAll(path)) // what the journal has kept of the first part is of no concern
	s.sink.Reopen()
	until(t, "the file on the disk", func() bool { return exists(path) })
	s.send(10)
	s.end()
	s.judge(0, first, second, read(t, path))
	s.count(2)
}

// shutdown has a file system write nothing any more.
func shutdown(t *testing.T, dir string) {
	t.Helper()
	const ext4Shutdown, withoutLog = 0x8004587d, 2
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	must(t, unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, withoutLog))
}

// newDisk makes the image of a disk.
func newDisk(t *testing.T, options ...string) (image string) {
	t.Helper()
	image = t.TempDir() + "/image"
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 16<<20))
	out, err := exec.Command("mkfs.ext4", append(options, "-q", image)...).CombinedOutput()
	if err != nil {
		t.Skipf("needs mkfs.ext4: %v: %s", err, out)
	}
	return image
}

// mountDisk mounts an image for the time of the test.
func mountDisk(t *testing.T, image, dir, options string) {
	t.Helper()
	out, err := exec.Command("mount", "-t", "ext4", "-o", options, image, dir).CombinedOutput()
	if err != nil {
		t.Skipf("needs root and a kernel with loop devices, ext4 and %s: %v: %s", options, err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// TestQuota fills the quota of a user on a disk, and makes room again.
func TestQuota(t *testing.T) {
	if path := os.Getenv("SINK_QUOTA_FILE"); path != "" {
		overQuota(t, path)
		return
	}
	const nobody = 65534
	image, dir := newDisk(t, "-O", "quota", "-E", "quotatype=usrquota"), t.TempDir()
	mountDisk(t, image, dir, "loop,usrquota")
	setQuota(t, dir, nobody, 64)
	must(t, os.Chmod(dir, 0o777))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestQuota$", "-test.v") // root has no quota
	cmd.Env = append(os.Environ(), "SINK_QUOTA_FILE="+dir+"/out")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// setQuota gives a user so many KiB of what is mounted on a directory.
func setQuota(t *testing.T, dir string, uid uintptr, kib uint64) {
	t.Helper()
	const setUserQuota, limitOfBlocks = 0x800008 << 8, 1 // QCMD(Q_SETQUOTA, USRQUOTA), QIF_BLIMITS
	limit := struct {
		hard  uint64
		rest  [7]uint64
		valid uint32
	}{hard: kib, valid: limitOfBlocks}
	mounts := read(t, "/proc/self/mounts")
	before, _, _ := strings.Cut(mounts, " "+dir+" ")
	device, err := unix.BytePtrFromString(before[strings.LastIndexByte(before, '\n')+1:])
	must(t, err)
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL, setUserQuota, uintptr(unsafe.Pointer(device)), uid, uintptr(unsafe.Pointer(&limit)), 0, 0)
	if errno != 0 {
		t.Fatal("quotactl: ", errno)
	}
}

// overQuota runs as the user whose quota is full, until another file of theirs is removed.
func overQuota(t *testing.T, path string) {
	other := filepath.Dir(path) + "/other"
	write(t, other, strings.Repeat("x", 48<<10))
	s := newStage(t, path)
	s.send(150)
	s.told("write " + path + ": disk quota exceeded; it is tried again, and records wait in the queue")
	s.met(unix.EDQUOT, 2)
	must(t, os.Remove(other))
	s.told(path + " works again")
	s.end()
	s.judge(0, read(t, path))
	s.count(2)
}
