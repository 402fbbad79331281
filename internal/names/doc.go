// Package names looks up the names of hosts, networks, ports and users: in the
// files below /etc and in DNS. There is no NSS: the program is static, so names
// from other databases are not found (docs/netstat-compat.md).
package names
