// Command vmtest runs the project's tests on other kernels.
//
// It fetches Debian's cloud kernels (cached outside the source tree), compiles
// the test binaries of the packages in its table, packs them with a shell and
// the programs they judge against into an initramfs, boots each kernel under
// QEMU's emulator (no hardware virtualisation, no privilege needed), and reads
// from a serial line what the tests said.
//
// Inside a machine NETTRACE_VM is 1: what every listed kernel has must then be
// there, so a test that finds it missing fails instead of skipping.
package main
