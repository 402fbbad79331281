package container

import "strings"

// ParseProcess reads a /proc/PID/cgroup: a line "N:CONTROLLERS:PATH" for each hierarchy
// (cgroups(7)). The container is that of the first path that names one, version 2 first:
// where version 1 is in use too, runtimes are found in its hierarchies alone. The unit is
// that of the hierarchy that systemd keeps.
func ParseProcess(text string) Place {
	var unified, systemd, others Place
	for line := range strings.Lines(text) {
		hierarchy, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok || !strings.HasPrefix(path, "/") {
			continue
		}
		place := ParsePath(path)
		switch {
		case hierarchy == "0" && controllers == "":
			unified = place
		case controllers == "name=systemd":
			systemd = place
		case !others.Contained():
			others = place
		}
	}
	return joined(unified, systemd, others)
}

// joined takes the container from the first place that has one, and the unit from the
// hierarchies of systemd.
func joined(unified, systemd, others Place) Place {
	all := unified
	for _, place := range []Place{systemd, others} {
		if !all.Contained() {
			all.Runtime, all.ID, all.Name = place.Runtime, place.ID, place.Name
			all.PodUID, all.PodContainer = place.PodUID, place.PodContainer
		}
	}
	if all.Unit == "" && all.Slice == "" {
		all.Unit, all.Slice, all.UserID = systemd.Unit, systemd.Slice, systemd.UserID
	}
	return all
}
