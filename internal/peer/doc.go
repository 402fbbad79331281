// Package peer gives tests TCP peers that do what no kernel does on request: they
// answer, reset, stay silent or send ICMP errors as a script says.
//
// The peers live behind a tun device in a network namespace of the test. Every
// packet passes through the device, so the package is also the judge of who sent
// the first FIN or RST.
package peer
