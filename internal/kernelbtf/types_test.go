package kernelbtf

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// objects reads the objects of the project: the views' iterators and the stream.
func objects(t testing.TB) (specs []*ebpf.CollectionSpec) {
	t.Helper()
	machine := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	for _, stem := range []string{"snapshot/iter_", "tracer/stream_"} {
		spec, err := ebpf.LoadCollectionSpec("../../" + stem + machine + "_bpfel.o")
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, spec)
	}
	return specs
}

// wanted are the names of structs and functions to find.
func wanted(structs, funcs []string) *names {
	n := new(names)
	for _, name := range structs {
		n.add(kindStruct, name)
	}
	for _, name := range funcs {
		n.add(kindFunc, name)
	}
	return n
}

// kernelBTF returns this kernel's types.
func kernelBTF(t testing.TB) []byte {
	t.Helper()
	raw, release, err := mapFile(vmlinuxTypes)
	if err != nil {
		t.Skipf("no BTF of the kernel: %v", err)
	}
	t.Cleanup(release)
	return raw
}

// TestTypesForKernel checks the types found in this kernel's BTF, and the programs
// relocated with them, against what package btf makes of the whole of it.
func TestTypesForKernel(t *testing.T) {
	raw, specs := kernelBTF(t), objects(t)
	few, targets, err := typesFor(raw, specs...)
	if err != nil {
		t.Fatal(err)
	}
	all, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range specs {
		for name, p := range spec.Programs {
			got, want := code(t, p, few), code(t, p, all)
			if !slices.Equal(got, want) {
				t.Errorf("%s differs:\n% x\n% x", name, got, want)
			}
			kind, target := targetOf(p)
			if id := targetIn(t, all, kind, target); id != targets[target] {
				t.Errorf("%s has ID %d, want %d", target, targets[target], id)
			}
		}
	}
}

// code relocates a program to a kernel's types.
func code(t *testing.T, p *ebpf.ProgramSpec, kernel *btf.Spec) []byte {
	t.Helper()
	instructions, err := relocate(p, kernel)
	if err != nil {
		t.Fatalf("%s: %v", p.Name, err)
	}
	for i := range instructions {
		if ins := &instructions[i]; ins.IsLoadFromMap() && ins.Reference() != "" {
			*ins = ins.WithReference("") // no map has been made
		}
	}
	var b bytes.Buffer
	if err := instructions.Marshal(&b, p.ByteOrder); err != nil {
		t.Fatalf("%s: %v", p.Name, err)
	}
	return b.Bytes()
}

// targetIn finds what a program attaches to as package btf does; 0: this kernel does
// not have it, or the program needs none.
func targetIn(t *testing.T, all *btf.Spec, kind int, name string) uint32 {
	t.Helper()
	if name == "" {
		return 0
	}
	var typ btf.Type
	var err error
	if kind == kindTypedef {
		var typedef *btf.Typedef
		err = all.TypeByName(name, &typedef)
		typ = typedef
	} else {
		var fn *btf.Func
		err = all.TypeByName(name, &fn)
		typ = fn
	}
	if errors.Is(err, btf.ErrNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	id, err := all.TypeID(typ)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(id)
}

// rawTypes gives types as the kernel would show them.
func rawTypes(t testing.TB, types ...btf.Type) []byte {
	t.Helper()
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// sampleTypes are the types of a made-up kernel. Its struct sock has a member in each
// place that is possible: in nested structs and unions, in bit fields, in arrays and
// behind pointers.
func sampleTypes() []btf.Type {
	u16, u32 := &btf.Int{Name: "unsigned short", Size: 2}, &btf.Int{Name: "unsigned int", Size: 4}
	inner := &btf.Struct{Name: "inner", Size: 8, Members: []btf.Member{
		{Name: "unread", Type: u32},
		{Name: "value", Type: &btf.Const{Type: u32}, Offset: 32},
	}}
	sock := &btf.Struct{Name: "sock", Size: 64, Members: []btf.Member{
		{Name: "padding", Type: &btf.Array{Index: u32, Type: u32, Nelems: 2}},
		{Type: &btf.Union{Size: 8, Members: []btf.Member{
			{Name: "whole", Type: u32},
			{Type: &btf.Struct{Size: 4, Members: []btf.Member{{Name: "low", Type: u16}, {Name: "high", Type: u16, Offset: 16}}}},
		}}, Offset: 64},
		{Name: "flag", Type: u32, Offset: 128, BitfieldSize: 3},
		{Name: "inner", Type: &btf.Typedef{Name: "inner_t", Type: &btf.Volatile{Type: inner}}, Offset: 160},
		{Name: "list", Type: &btf.Array{Index: u32, Type: inner, Nelems: 3}, Offset: 224},
		{Name: "next", Type: &btf.Pointer{Target: inner}, Offset: 448},
	}}
	sock.Members = append(sock.Members, btf.Member{Name: "self", Type: &btf.Pointer{Target: sock}, Offset: 512})
	proto := &btf.FuncProto{Return: (*btf.Void)(nil), Params: []btf.FuncParam{{Name: "sk", Type: &btf.Pointer{Target: sock}}}}
	return []btf.Type{
		&btf.Enum{Name: "colour", Size: 4, Values: []btf.EnumValue{{Name: "RED", Value: 1}}},
		&btf.Enum{Name: "wide", Size: 8, Values: []btf.EnumValue{{Name: "FAR", Value: 1 << 40}}},
		&btf.Fwd{Name: "nothing"}, &btf.Float{Name: "double", Size: 8},
		&btf.Func{Name: "bpf_iter_other", Type: proto}, sock, &btf.Func{Name: "bpf_iter_tcp", Type: proto},
	}
}

// localSock is struct sock as a BPF program declares it: with the members it uses.
func localSock() *btf.Struct {
	u32 := &btf.Int{Name: "u32", Size: 4}
	inner := &btf.Struct{Name: "inner", Size: 4, Members: []btf.Member{{Name: "value", Type: u32}}}
	return &btf.Struct{Name: "sock", Size: 40, Members: []btf.Member{
		{Name: "high", Type: &btf.Int{Name: "u16", Size: 2}},
		{Name: "flag", Type: u32, Offset: 32},
		{Name: "inner", Type: inner, Offset: 64},
		{Name: "list", Type: &btf.Array{Index: u32, Type: inner, Nelems: 1}, Offset: 96},
		{Name: "next", Type: &btf.Pointer{Target: inner}, Offset: 128},
	}}
}

func TestKernelTypes(t *testing.T) {
	k, err := findKernelTypes(rawTypes(t, sampleTypes()...), wanted([]string{"sock", "missing"}, []string{"bpf_iter_tcp", "bpf_iter_task_file"}))
	if err != nil {
		t.Fatal(err)
	}
	if len(k.targets) != 1 || k.name(k.headerOf(t, k.targets["bpf_iter_tcp"]).name) != "bpf_iter_tcp" {
		t.Errorf("functions %v", k.targets)
	}
	spec, err := k.layout(map[string]*btf.Struct{"sock": localSock()})
	if err != nil {
		t.Fatal(err)
	}
	var sock *btf.Struct
	if err := spec.TypeByName("sock", &sock); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	describe(&got, sock, 0, "")
	const want = `struct sock: 64 bytes
 64: union : 8 bytes
  0: struct : 4 bytes
   16 high: 2 bytes
 128+3 flag: 4 bytes
 160 inner: struct inner: 8 bytes
  32 value: 4 bytes
 224 list: 3 of struct inner: 8 bytes
  32 value: 4 bytes
 448 next: pointer to Void
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// The kernels are named by what their BTF has.
func TestPreemptsTracepoints(t *testing.T) {
	variable := func(name string) btf.Type {
		return &btf.Var{Name: name, Type: &btf.Int{Name: "int", Size: 4}, Linkage: btf.StaticVar}
	}
	guard, fast, one := variable(tracepointGuard), &btf.Struct{Name: fastCounters, Size: 8}, variable(anyPerCPU)
	for _, c := range []struct {
		name  string
		types []btf.Type
		want  bool
	}{
		{"5.10 to 6.12: that of idle CPUs", []btf.Type{one, guard}, false},
		{"6.13, 6.14", []btf.Type{one}, false},
		{"6.15 to 6.19", []btf.Type{one, fast}, false},
		{"7.0 on", []btf.Type{one, fast, guard}, true},
		{"new, without variables", []btf.Type{fast}, true},
		{"old, without variables", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, found, err := typesFor(rawTypes(t, append(sampleTypes(), c.types...)...))
			if err != nil {
				t.Fatal(err)
			}
			if got := preemptsTracepoints(found); got != c.want {
				t.Errorf("%t, want %t", got, c.want)
			}
		})
	}
}

func (k *kernelTypes) headerOf(t *testing.T, id uint32) btfType {
	t.Helper()
	typ, _, err := k.body(id)
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

// describe writes a type as text, a line for each member.
func describe(w *strings.Builder, typ btf.Type, depth int, label string) {
	indent := strings.Repeat(" ", depth)
	members := func(name string, size uint32, list []btf.Member) {
		fmt.Fprintf(w, "%s%s%s: %d bytes\n", indent, label, name, size)
		for _, m := range list {
			at := strconv.Itoa(int(m.Offset))
			if m.BitfieldSize > 0 {
				at += "+" + strconv.Itoa(int(m.BitfieldSize))
			}
			describe(w, m.Type, depth+1, strings.TrimSuffix(at+" "+m.Name, " ")+": ")
		}
	}
	switch typ := typ.(type) {
	case *btf.Struct:
		members("struct "+typ.Name, typ.Size, typ.Members)
	case *btf.Union:
		members("union "+typ.Name, typ.Size, typ.Members)
	case *btf.Array:
		describe(w, typ.Type, depth, label+strconv.Itoa(int(typ.Nelems))+" of ")
	case *btf.Int:
		fmt.Fprintf(w, "%s%s%d bytes\n", indent, label, typ.Size)
	case *btf.Pointer:
		fmt.Fprintf(w, "%s%spointer to %s\n", indent, label, typ.Target)
	default:
		fmt.Fprintf(w, "%s%s%v\n", indent, label, typ)
	}
}

func TestKernelTypesErrors(t *testing.T) {
	good := rawTypes(t, sampleTypes()...)
	change := func(at int, value byte) []byte {
		raw := slices.Clone(good)
		raw[at] = value
		return raw
	}
	const firstKind = btfHeaderSize + 7
	for name, tt := range map[string]struct {
		raw  []byte
		want string
	}{
		"empty":          {nil, "no BTF"},
		"of another end": {change(0, 0xeb), "no BTF"},
		"cut":            {good[:len(good)-1], "ends too early"},
		"unknown kind":   {change(firstKind, 0x1f), "type 1 is of the unknown kind 31"},
		"a long type":    {change(firstKind-2, 0xff), "ends too early"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := findKernelTypes(tt.raw, wanted([]string{"sock"}, nil))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestKernelTypesEndless reads a struct that contains itself. Reading must end.
func TestKernelTypesEndless(t *testing.T) {
	sock := &btf.Struct{Name: "sock", Size: 4}
	sock.Members = []btf.Member{{Name: "high", Type: sock}}
	k, err := findKernelTypes(rawTypes(t, sock), wanted([]string{"sock"}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.layout(map[string]*btf.Struct{"sock": sock}); err == nil {
		t.Error("no error")
	}
}

func FuzzKernelTypes(f *testing.F) {
	f.Add(rawTypes(f, sampleTypes()...))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		k, err := findKernelTypes(raw, wanted([]string{"sock", "inner"}, []string{"bpf_iter_tcp"}))
		if err != nil {
			return
		}
		_, _ = k.layout(map[string]*btf.Struct{"sock": localSock(), "inner": localSock()}) // it must return
	})
}

func BenchmarkTypesForKernel(b *testing.B) {
	raw, specs := kernelBTF(b), objects(b)
	for b.Loop() {
		if _, _, err := typesFor(raw, specs...); err != nil {
			b.Fatal(err)
		}
	}
}
