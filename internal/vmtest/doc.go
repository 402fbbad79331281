// Command vmtest runs the project's tests on other kernels.
//
// It fetches Debian's cloud kernels, which it caches outside the source tree, and
// compiles the test binaries of the packages in its table. It packs these into an
// initramfs, with a shell and the programs that the tests compare with. Then it
// boots each kernel under QEMU, emulated, so that neither hardware virtualisation
// nor privilege is needed, and reads the tests' output from a serial line.
//
// vimto, which cilium/ebpf uses for the same, needs kernels with 9p, overlayfs and
// virtio built in (its README). Debian's, which people run, have them as modules or
// not at all.
//
// A machine with a test or two that failed runs these once more: an emulated processor
// stands still for seconds now and then. Those that pass are named UNSTEADY in the
// result, so that one which is unsteady for another reason is seen.
//
// Inside a machine NETTRACE_VM is 1. Every listed kernel has all that the tests
// need, so a test that finds something missing fails there instead of skipping.
package main
