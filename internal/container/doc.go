// Package container finds out what a socket's process runs in: which container, pod and
// unit. It asks no runtime and no API server: the path of a cgroup says which container
// it is of, and files of the host say how that is called.
//
// ParsePath reads a path, ParseProcess a /proc/PID/cgroup. A Host joins them with the
// names, and reads files at each call. A Cache is for streams: asking it reads nothing.
package container
