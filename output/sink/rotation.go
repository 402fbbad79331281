package sink

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nettrace/nettrace/internal/bytesize"
)

// Rotation says when a file is renamed to FILE.1 and a new one begun.
type Rotation struct {
	Size     int64         // before the line with which the file would be larger; 0: never
	Age      time.Duration // when the file is older; 0: never
	Keep     int           // renamed files that are kept; 0: KeepStandard
	Compress bool          // compress FILE.2 and older with gzip
}

// KeepStandard is how many renamed files are kept where nobody says it.
const KeepStandard = 5

// on reports whether files are rotated at all.
func (r *Rotation) on() bool { return r.Size > 0 || r.Age > 0 }

// keep returns how many renamed files are kept.
func (r *Rotation) keep() int {
	if r.Keep == 0 {
		return KeepStandard
	}
	return r.Keep
}

// lives is how long a file lives at least: a follower that is behind misses a file
// that comes and goes.
const lives = 5 * time.Second

// What may be asked for. FILE.N is renamed for each N at a rotation.
const (
	keepMost = 1000
	ageLeast = lives
)

// SetSize reads a size such as 256M.
func (r *Rotation) SetSize(text string) error {
	size, ok := bytesize.Parse(text)
	if !ok {
		return fmt.Errorf("needs a size such as 256M, or 0 for never, not '%s'", text)
	}
	r.Size = size
	return nil
}

// SetAge reads a time such as 24h.
func (r *Rotation) SetAge(text string) error {
	age, err := time.ParseDuration(text)
	if err != nil || age != 0 && age < ageLeast {
		return fmt.Errorf("needs a time of 5s or more, such as 24h, or 0 for never, not '%s'", text)
	}
	r.Age = age
	return nil
}

// SetKeep reads a number of files.
func (r *Rotation) SetKeep(text string) error {
	keep, err := strconv.Atoi(text)
	if err != nil || keep < 1 || keep > keepMost {
		return fmt.Errorf("needs a number from 1 to %d, not '%s'", keepMost, text)
	}
	r.Keep = keep
	return nil
}

// SetCompress reads the name of a format.
func (r *Rotation) SetCompress(text string) error {
	if text != "gzip" && text != "none" {
		return fmt.Errorf("takes gzip or none, not '%s'", text)
	}
	r.Compress = text == "gzip"
	return nil
}

// Check checks the settings against each other.
func (r *Rotation) Check() error {
	if r.Compress && r.on() && r.keep() < 2 {
		return errors.New("compression is of FILE.2 and older, as FILE.1 may still be read: it needs rotate-keep of 2 or more")
	}
	return nil
}
