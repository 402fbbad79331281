package snapshot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func iterSpec(t testing.TB) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := loadIter()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// kernelBTF gives this kernel's types.
func kernelBTF(t testing.TB) []byte {
	t.Helper()
	raw, release, err := mapFile(vmlinuxTypes)
	if err != nil {
		t.Skipf("no BTF of the kernel: %v", err)
	}
	t.Cleanup(release)
	return raw
}

// TestTypesForKernel holds what is found in this kernel's types, and what comes of
// the programs with it, to what package btf finds in all of them.
func TestTypesForKernel(t *testing.T) {
	raw, spec := kernelBTF(t), iterSpec(t)
	few, funcs, err := typesFor(spec, raw)
	if err != nil {
		t.Fatal(err)
	}
	all, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range spec.Programs {
		got, err := relocate(p, few)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want, err := relocate(p, all)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s differs:\n% x\n% x", name, got, want)
		}
		var target *btf.Func
		if err := all.TypeByName(targetOf(p), &target); err != nil {
			t.Fatal(err)
		}
		if id, err := all.TypeID(target); err != nil || uint32(id) != funcs[targetOf(p)] {
			t.Errorf("%s has ID %d, want %d (%v)", targetOf(p), funcs[targetOf(p)], id, err)
		}
	}
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

// sampleTypes are a kernel's in which struct sock's members lie in all the places
// where they can.
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

// localSock is what a program knows of the sample's struct sock.
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
	k, err := findKernelTypes(rawTypes(t, sampleTypes()...), []string{"sock", "missing"}, []string{"bpf_iter_tcp", "bpf_iter_task_file"})
	if err != nil {
		t.Fatal(err)
	}
	if len(k.funcs) != 1 || k.name(k.headerOf(t, k.funcs["bpf_iter_tcp"]).name) != "bpf_iter_tcp" {
		t.Errorf("functions %v", k.funcs)
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

func (k *kernelTypes) headerOf(t *testing.T, id uint32) btfType {
	t.Helper()
	typ, _, err := k.body(id)
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

// describe writes what a type looks like, a line a member.
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
			_, err := findKernelTypes(tt.raw, []string{"sock"}, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestKernelTypesEndless reads a struct that contains itself.
func TestKernelTypesEndless(t *testing.T) {
	sock := &btf.Struct{Name: "sock", Size: 4}
	sock.Members = []btf.Member{{Name: "high", Type: sock}}
	k, err := findKernelTypes(rawTypes(t, sock), []string{"sock"}, nil)
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
		k, err := findKernelTypes(raw, []string{"sock", "inner"}, []string{"bpf_iter_tcp"})
		if err != nil {
			return
		}
		_, _ = k.layout(map[string]*btf.Struct{"sock": localSock(), "inner": localSock()}) // it must return
	})
}

func BenchmarkTypesForKernel(b *testing.B) {
	raw, spec := kernelBTF(b), iterSpec(b)
	for b.Loop() {
		if _, _, err := typesFor(spec, raw); err != nil {
			b.Fatal(err)
		}
	}
}
