package output

import (
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// unixPathMax bounds the name of a Unix socket: 108 bytes (UNIX_PATH_MAX in
// include/uapi/linux/un.h), up to 6 for each.
const unixPathMax = 6 * 108

// Unix appends the "socket" record of a Unix domain socket, as it was at the
// time at. The owners may be nil: not known.
func (w socketRecords) Unix(at time.Time, u *snapshot.UnixSocket, owners *snapshot.Owners) {
	w.beginAt("socket", at)
	w.word(`,"transport":`, "unix")
	if name := unixType(u.Type); name != unknownWord {
		w.word(`,"type":`, name)
	}
	if name := unixState(u); name != "" && name != unknownWord {
		w.word(`,"state":`, name)
	}
	w.uint(`,"refcnt":`, u.RefCount)
	w.uint(`,"flag_bits":`, u.Flags)
	w.str(`,"path":`, u.Path, unixPathMax)
	if u.Cut {
		w.cutHere()
	}
	if u.Abstract {
		w.flag(`,"abstract":`, true)
	}
	w.inode(u.Inode)
	w.holders(u.Inode, owners)
	w.end()
}

// unknownWord is what netstat calls a number without a name.
const unknownWord = "UNKNOWN"
