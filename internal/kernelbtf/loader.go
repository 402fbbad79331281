package kernelbtf

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

// Loader loads tracing programs (iterators, tp_btf, fentry, fexit). It may be used by
// several goroutines at once.
type Loader struct {
	types     *btf.Spec         // the structs that the programs read
	targets   map[string]uint32 // BTF IDs of what the programs attach to, by name
	preempted bool              // see PreemptsTracepoints
}

// NewLoader reads what the programs of objects need of the kernel's types.
func NewLoader(objects ...*ebpf.CollectionSpec) (*Loader, error) {
	raw, release, err := mapFile(vmlinuxTypes)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", err)
	}
	defer release()
	l := &Loader{}
	if l.types, l.targets, err = typesFor(raw, objects...); err != nil {
		return nil, fmt.Errorf("read the kernel's types in %s: %w", vmlinuxTypes, err)
	}
	l.preempted = preemptsTracepoints(l.targets)
	return l, nil
}

// What tells how tracepoints are guarded. The SRCU that guards them since 7.0 has
// per-CPU data, and is a fast one, which came with its counters in 6.15. Before 6.13 the
// same data was there for tracepoints of idle CPUs alone.
const (
	tracepointGuard = "tracepoint_srcu_srcu_data"
	fastCounters    = "srcu_ctr"
	anyPerCPU       = "runqueues" // in all kernels, if their BTF has per-CPU data
)

func preemptsTracepoints(found map[string]uint32) bool {
	_, perCPU := found[anyPerCPU]
	_, guard := found[tracepointGuard]
	_, fast := found[fastCounters]
	return fast && (guard || !perCPU)
}

// PreemptsTracepoints reports whether a task may be preempted while a program on a
// tracepoint runs for it. Kernels that call tracepoints with preemption off do not allow
// that. In doubt it is true.
func (l *Loader) PreemptsTracepoints() bool { return l.preempted }

// Types returns the structs that the programs read. With it as
// ebpf.ProgramOptions.KernelTypes package ebpf loads the programs that Load does not.
func (l *Loader) Types() *btf.Spec { return l.types }

// typesFor finds in the kernel's BTF what the programs of objects need.
func typesFor(raw []byte, objects ...*ebpf.CollectionSpec) (*btf.Spec, map[string]uint32, error) {
	wanted := new(names)
	wanted.add(kindVar, tracepointGuard)
	wanted.add(kindVar, anyPerCPU)
	wanted.add(kindStruct, fastCounters)
	locals := map[string]*btf.Struct{}
	for _, o := range objects {
		for typ, err := range o.Types.All() {
			if err != nil {
				return nil, nil, err
			}
			if s, ok := typ.(*btf.Struct); ok && s.Name != "" {
				locals[s.Name] = s
				wanted.add(kindStruct, s.Name)
			}
		}
		for _, p := range o.Programs {
			if kind, name := targetOf(p); name != "" {
				wanted.add(kind, name)
			}
		}
	}
	k, err := findKernelTypes(raw, wanted)
	if err != nil {
		return nil, nil, err
	}
	if ids := k.structs[fastCounters]; ids != nil { // no program reads it
		k.targets[fastCounters] = ids[0]
		delete(k.structs, fastCounters)
	}
	layout, err := k.layout(locals)
	return layout, k.targets, err
}

// Loads reports whether Load can load a program; package ebpf loads the others
// without the kernel's types, or with those of Types.
func Loads(p *ebpf.ProgramSpec) bool {
	_, name := targetOf(p)
	return name != ""
}

// targetOf names what stands for a program's hook in the kernel's BTF; an empty name
// is that of a program which needs none.
func targetOf(p *ebpf.ProgramSpec) (kind int, name string) {
	if p.Type != ebpf.Tracing {
		return 0, ""
	}
	switch p.AttachType {
	case ebpf.AttachTraceIter: // DEFINE_BPF_ITER_FUNC, include/linux/bpf.h
		return kindFunc, "bpf_iter_" + p.AttachTo
	case ebpf.AttachTraceFEntry, ebpf.AttachTraceFExit:
		return kindFunc, p.AttachTo
	case ebpf.AttachTraceRawTp: // __DEFINE_EVENT, include/trace/bpf_probe.h
		return kindTypedef, "btf_trace_" + p.AttachTo
	}
	return 0, ""
}

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
	described          progTypesAttr
	_                  uint32
}

// progTypesAttr is what of it describes the program's functions, and where to attach it.
type progTypesAttr struct {
	types       uint32 // descriptor of the program's BTF
	recordSize  uint32
	records     unsafe.Pointer
	recordCount uint32
	_           [16]byte // lines
	attachBTFID uint32
}

// Load relocates a program to the running kernel and loads it, with maps by the names
// that it has for them.
func (l *Loader) Load(p *ebpf.ProgramSpec, maps map[string]*ebpf.Map) (*ebpf.Program, error) {
	_, name := targetOf(p)
	target, ok := l.targets[name]
	if !ok {
		return nil, fmt.Errorf("find %s in the kernel's BTF: %w", name, ebpf.ErrNotSupported)
	}
	instructions, err := relocate(p, l.types)
	if err != nil {
		return nil, err
	}
	if err := bindMaps(instructions, maps); err != nil {
		return nil, err
	}
	var code bytes.Buffer
	if err := instructions.Marshal(&code, p.ByteOrder); err != nil {
		return nil, err
	}
	f, err := functionsOf(instructions)
	if err != nil {
		return nil, err
	}
	if f.types != nil {
		defer f.types.Close()
	}
	program, err := loadCode(p, code.Bytes(), target, f)
	runtime.KeepAlive(maps) // their descriptors are in the code
	return program, err
}

// functions is what the kernel has to know of the functions of a program that has more
// than one. The verifier goes through a global function by itself, once. Without this
// it takes every function for a static one, and goes through it for each call and
// each way that leads there: 22,000 instructions instead of 5,000.
type functions struct {
	types   *btf.Handle // nil: there is one function only
	records []byte
}

func functionsOf(code asm.Instructions) (functions, error) {
	n := 0
	bare := slices.Clone(code)
	for i := range bare {
		bare[i] = bare[i].WithSource(nil) // lines are for the verifier's log
		if btf.FuncMetadata(&bare[i]) != nil {
			n++
		}
	}
	if n < 2 {
		return functions{}, nil
	}
	var types btf.Builder
	records, _, err := btf.MarshalExtInfos(bare, &types)
	if err != nil {
		return functions{}, fmt.Errorf("describe the functions: %w", err)
	}
	handle, err := btf.NewHandle(&types)
	if err != nil {
		return functions{}, fmt.Errorf("load the types of the functions: %w", err)
	}
	return functions{handle, records}, nil
}

// loadCode loads instructions as the kernel takes them.
func loadCode(p *ebpf.ProgramSpec, code []byte, target uint32, f functions) (*ebpf.Program, error) {
	license := append([]byte(p.License), 0)
	attr := progLoadAttr{
		progType:           uint32(p.Type),
		instructions:       uint32(len(code) / asm.InstructionSize),
		code:               unsafe.Pointer(&code[0]),
		license:            unsafe.Pointer(&license[0]),
		flags:              p.Flags,
		expectedAttachType: uint32(p.AttachType),
		described:          progTypesAttr{attachBTFID: target},
	}
	if f.types != nil {
		attr.described.types = uint32(f.types.FD())
		attr.described.recordSize = btf.FuncInfoSize
		attr.described.records = unsafe.Pointer(&f.records[0])
		attr.described.recordCount = uint32(len(f.records)) / btf.FuncInfoSize
	}
	copy(attr.name[:len(attr.name)-1], p.Name)
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

// relocate returns a program's instructions, bound to the layout of the kernel's
// types.
func relocate(p *ebpf.ProgramSpec, kernel *btf.Spec) (asm.Instructions, error) {
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
	return code, nil
}

// bindMaps puts the maps that instructions name into them.
func bindMaps(code asm.Instructions, maps map[string]*ebpf.Map) error {
	for i := range code {
		ins := &code[i]
		if !ins.IsLoadFromMap() || ins.Reference() == "" {
			continue
		}
		m := maps[ins.Reference()]
		if m == nil {
			return fmt.Errorf("there is no map %s", ins.Reference())
		}
		if err := ins.AssociateMap(m); err != nil {
			return fmt.Errorf("map %s: %w", ins.Reference(), err)
		}
	}
	return nil
}
