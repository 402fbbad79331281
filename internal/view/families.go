package view

import (
	"errors"
	"strings"
)

// Canonical names of the address families, as netstat spells them in its
// messages.
const (
	FamilyInet      = "inet"
	FamilyInet6     = "inet6"
	FamilyUnix      = "unix"
	FamilyIPX       = "ipx"
	FamilyAX25      = "ax25"
	FamilyX25       = "x25"
	FamilyNetROM    = "netrom"
	FamilyROSE      = "rose"
	FamilyDDP       = "ddp"
	FamilyBluetooth = "bluetooth"
)

// familyNames maps the words of -A to canonical names.
var familyNames = map[string]string{
	"ax25":      FamilyAX25,
	"ip":        FamilyInet,
	"ip6":       FamilyInet6,
	"ipx":       FamilyIPX,
	"rose":      FamilyROSE,
	"appletalk": FamilyDDP,
	"netrom":    FamilyNetROM,
	"inet":      FamilyInet,
	"inet6":     FamilyInet6,
	"ddp":       FamilyDDP,
	"unix":      FamilyUnix,
	"tcpip":     FamilyInet,
	"econet":    "ec",
	"x25":       FamilyX25,
	"ash":       "ash",
	"bluetooth": FamilyBluetooth,
}

// familyListMax is the size in bytes of netstat's buffers for family lists:
// the value of -A is cut to it, and the list of all families, joined by
// commas, never grows beyond it.
const familyListMax = 255

// ErrFamilyList reports that the list of families is full.
var ErrFamilyList = errors.New("Too much address family arguments.") //lint:ignore ST1005 netstat's text

// AppendFamilies adds the canonical names of a comma list of words. When the
// list is full it returns what fits and ErrFamilyList. A word that names no
// family is an *Error.
func AppendFamilies(families []string, words string) ([]string, error) {
	if len(words) > familyListMax {
		words = words[:familyListMax]
	}
	for word := range strings.SplitSeq(words, ",") {
		name, ok := familyNames[word]
		if !ok {
			return families, Errorf("Unknown address family `%s'.", word)
		}
		if len(strings.Join(append(families, name), ",")) > familyListMax {
			return families, ErrFamilyList
		}
		families = append(families, name)
	}
	return families, nil
}
