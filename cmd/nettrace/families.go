package main

import (
	"errors"
	"strings"
)

// Canonical names of the address families, as netstat spells them in its
// messages.
const (
	familyInet      = "inet"
	familyInet6     = "inet6"
	familyUnix      = "unix"
	familyIPX       = "ipx"
	familyAX25      = "ax25"
	familyX25       = "x25"
	familyNetrom    = "netrom"
	familyRose      = "rose"
	familyDDP       = "ddp"
	familyBluetooth = "bluetooth"
)

// familyNames maps the words of -A to canonical names.
var familyNames = map[string]string{
	"ax25":      familyAX25,
	"ip":        familyInet,
	"ip6":       familyInet6,
	"ipx":       familyIPX,
	"rose":      familyRose,
	"appletalk": familyDDP,
	"netrom":    familyNetrom,
	"inet":      familyInet,
	"inet6":     familyInet6,
	"ddp":       familyDDP,
	"unix":      familyUnix,
	"tcpip":     familyInet,
	"econet":    "ec",
	"x25":       familyX25,
	"ash":       "ash",
	"bluetooth": familyBluetooth,
}

// familyListMax is the size in bytes of netstat's buffers for family lists:
// the value of -A is cut to it, and the list of all families, joined by
// commas, never grows beyond it.
const familyListMax = 255

// errFamilyList says that the list of families is full.
var errFamilyList = errors.New("Too much address family arguments.") //lint:ignore ST1005 netstat's text

// appendFamilies adds the canonical names of a comma list of words. When the
// list is full it gives what fits and errFamilyList; a word that names no
// family is a *viewError.
func appendFamilies(families []string, words string) ([]string, error) {
	if len(words) > familyListMax {
		words = words[:familyListMax]
	}
	for word := range strings.SplitSeq(words, ",") {
		name, ok := familyNames[word]
		if !ok {
			return families, failf("Unknown address family `%s'.", word)
		}
		if len(strings.Join(append(families, name), ",")) > familyListMax {
			return families, errFamilyList
		}
		families = append(families, name)
	}
	return families, nil
}
