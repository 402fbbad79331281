package sink

import "github.com/nettrace/nettrace/internal/faultfs"

// The test starts its own binary again to serve a file system.
func init() { faultfs.Main() }
