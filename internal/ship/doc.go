// Package ship holds tests alone: real shippers and stores take what nettrace writes.
// `.ci/shippers` installs them; a test whose program is not there skips. The
// configurations are the files of deploy/ themselves, with other paths.
package ship
