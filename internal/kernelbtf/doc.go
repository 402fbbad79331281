// Package kernelbtf loads tracing programs with only those of the kernel's types that
// they read.
//
// Package ebpf can load the same programs, but decodes and indexes all of the
// kernel's 150,000 types first, and gives the kernel debug information of each
// program, which it checks. This package looks at each type once, keeps the few that
// the programs name, and leaves the debug information out, but for what the verifier
// has to know of the functions of a program that has several.
//
// What it buys, measured on Linux 6.18 with fresh processes:
//
//   - the iterator of owners: the time that reading 20,000 sockets takes;
//   - the start of the stream: a sixth of it (of 101 ms of CPU time 16), and 5 MiB of
//     resident memory.
//
// What it costs is the hand-made attribute of BPF_PROG_LOAD in loader.go. It relocates
// fields of structs only, and knows no kernel modules: programs that need more are
// package ebpf's, as are all programs of other types (kprobes, sock_ops, …), which get
// their types from [Loader.Types]. So is every program whose verifier's log is wanted.
package kernelbtf
