package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// iterLoader loads iterator programs. Package ebpf relocates and compiles them,
// but reads all of the kernel's types to do so; here it gets those few that the
// programs read.
type iterLoader struct {
	programs map[string]*ebpf.ProgramSpec
	kernel   *btf.Spec         // the structs that the programs read
	targets  map[string]uint32 // BTF IDs of what iterators attach to, by name
}

// newIterLoader reads the programs and the kernel's types.
func newIterLoader() (*iterLoader, error) {
	spec, err := loadIter()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %w", err)
	}
	raw, release, err := mapFile(vmlinuxTypes)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", err)
	}
	defer release()
	l := &iterLoader{programs: spec.Programs}
	if l.kernel, l.targets, err = typesFor(spec, raw); err != nil {
		return nil, fmt.Errorf("read the kernel's types in %s: %w", vmlinuxTypes, err)
	}
	return l, nil
}

// typesFor finds in the kernel's BTF what the programs of an object need.
func typesFor(spec *ebpf.CollectionSpec, raw []byte) (*btf.Spec, map[string]uint32, error) {
	locals := map[string]*btf.Struct{}
	var structs, funcs []string
	for typ, err := range spec.Types.All() {
		if err != nil {
			return nil, nil, err
		}
		if s, ok := typ.(*btf.Struct); ok && s.Name != "" {
			locals[s.Name] = s
			structs = append(structs, s.Name)
		}
	}
	for _, p := range spec.Programs {
		if name := targetOf(p); !slices.Contains(funcs, name) {
			funcs = append(funcs, name)
		}
	}
	k, err := findKernelTypes(raw, structs, funcs)
	if err != nil {
		return nil, nil, err
	}
	layout, err := k.layout(locals)
	return layout, k.funcs, err
}

// targetOf names the function of the kernel that stands for an iterator
// (DEFINE_BPF_ITER_FUNC, include/linux/bpf.h).
func targetOf(p *ebpf.ProgramSpec) string { return "bpf_iter_" + p.AttachTo }

// progLoadAttr is the part of union bpf_attr (include/uapi/linux/bpf.h) that
// BPF_PROG_LOAD takes, as far as it is needed here.
type progLoadAttr struct {
	progType           uint32
	instructions       uint32 // their number
	code, license      unsafe.Pointer
	logLevel, logSize  uint32
	log                uint64
	kernelVersion      uint32
	flags              uint32
	name               [16]byte
	ifindex            uint32
	expectedAttachType uint32
	_                  [36]byte // BTF of the program, functions and lines
	attachBTFID        uint32
	_                  uint32
}

// load relocates a program to the running kernel and loads it.
func (l *iterLoader) load(name string) (*ebpf.Program, error) {
	p := l.programs[name]
	target, ok := l.targets[targetOf(p)]
	if !ok {
		return nil, fmt.Errorf("this kernel has no iterator %s: %w", p.AttachTo, ebpf.ErrNotSupported)
	}
	code, err := relocate(p, l.kernel)
	if err != nil {
		return nil, err
	}
	license := append([]byte(p.License), 0)
	attr := progLoadAttr{
		progType:           unix.BPF_PROG_TYPE_TRACING,
		instructions:       uint32(len(code) / asm.InstructionSize),
		code:               unsafe.Pointer(&code[0]),
		license:            unsafe.Pointer(&license[0]),
		expectedAttachType: unix.BPF_TRACE_ITER,
		attachBTFID:        target,
	}
	copy(attr.name[:len(attr.name)-1], name)
	for {
		fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		runtime.KeepAlive(attr)
		switch errno {
		case 0:
			return ebpf.NewProgramFromFD(int(fd))
		case unix.EAGAIN, unix.EINTR: // a signal came while the verifier ran
		default:
			return nil, errno
		}
	}
}

// relocate gives a program's instructions, bound to the layout of the kernel's
// types, as the kernel takes them.
func relocate(p *ebpf.ProgramSpec, kernel *btf.Spec) ([]byte, error) {
	code := slices.Clone(p.Instructions)
	var relocations []*btf.CORERelocation
	var at []*asm.Instruction
	for i := range code {
		if r := btf.CORERelocationMetadata(&code[i]); r != nil {
			relocations, at = append(relocations, r), append(at, &code[i])
		}
	}
	noIDs := func(btf.Type) (btf.TypeID, error) { return 0, errors.New("the program asks for the ID of a type") }
	fixups, err := btf.CORERelocate(relocations, []*btf.Spec{kernel}, p.ByteOrder, noIDs)
	if err != nil {
		return nil, err
	}
	for i := range fixups {
		if err := fixups[i].Apply(at[i]); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	err = code.Marshal(&b, p.ByteOrder)
	return b.Bytes(), err
}
