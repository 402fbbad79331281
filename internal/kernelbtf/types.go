package kernelbtf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// kernelTypes is what loading programs needs of the kernel's BTF. The layout of BTF is
// described in Documentation/bpf/btf.rst.
type kernelTypes struct {
	types   []byte // the type section, each type a header and what belongs to it
	strings []byte // names, each with its zero byte
	offsets []uint32
	structs map[string][]uint32 // IDs by name, of those that were asked for
	targets map[string]uint32   // the same of functions and typedefs

	built map[uint32]btf.Type // structs and unions that layout has made
	steps int                 // of layout, to end at types that contain themselves
}

// vmlinuxTypes is where the kernel shows its BTF.
const vmlinuxTypes = "/sys/kernel/btf/vmlinux"

// mapFile returns a file's contents, mapped where that is possible (BTF: since Linux
// 6.16), and the function that releases them.
func mapFile(name string) (data []byte, release func(), err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
		if err == nil {
			return data, func() { _ = unix.Munmap(data) }, nil
		}
	}
	data, err = os.ReadFile(name)
	return data, func() {}, err
}

// BTF's header, as struct btf_header of include/uapi/linux/btf.h has it.
const (
	btfMagic      = 0xeb9f
	btfHeaderSize = 24
	btfTypeSize   = 12 // of struct btf_type: name, info, and size or type
	btfMemberSize = 12 // of struct btf_member: name, type, offset
)

// The kinds of types, BTF_KIND_ of include/uapi/linux/btf.h.
const (
	kindInt = 1 + iota
	kindPtr
	kindArray
	kindStruct
	kindUnion
	kindEnum
	kindFwd
	kindTypedef
	kindVolatile
	kindConst
	kindRestrict
	kindFunc
	kindFuncProto
	kindVar
	kindDatasec
	kindFloat
	kindDeclTag
	kindTypeTag
	kindEnum64
)

// btfType is a type's header.
type btfType struct {
	name, info uint32
	sizeOrType uint32 // the size in bytes, or the type that it stands for
}

func (t btfType) kind() int  { return int(t.info >> 24 & 0x1f) }
func (t btfType) count() int { return int(t.info & 0xffff) } // of members and the like

// extra returns the size of what follows the header; negative: an unknown kind.
func (t btfType) extra() int {
	f := follows[t.kind()]
	return f.fixed + f.each*t.count()
}

// follows says what follows the header of each kind: fixed bytes, then each bytes for
// each member (or parameter, or value) that the header counts; fixed is -1 for an
// unknown kind.
var follows = func() (f [32]struct{ fixed, each int }) {
	for kind := range f {
		f[kind].fixed = -1
	}
	for _, kind := range []int{kindPtr, kindFwd, kindTypedef, kindVolatile, kindConst, kindRestrict, kindFunc, kindFloat, kindTypeTag} {
		f[kind].fixed = 0
	}
	for _, kind := range []int{kindInt, kindVar, kindDeclTag} {
		f[kind].fixed = 4
	}
	f[kindArray].fixed = 12
	for _, kind := range []int{kindEnum, kindFuncProto} {
		f[kind].fixed, f[kind].each = 0, 8
	}
	for _, kind := range []int{kindStruct, kindUnion, kindDatasec, kindEnum64} {
		f[kind].fixed, f[kind].each = 0, 12
	}
	return f
}()

var errShort = errors.New("it ends too early")

// findKernelTypes finds types in BTF by their names. The result refers to raw.
func findKernelTypes(raw []byte, wanted *names) (*kernelTypes, error) {
	native := binary.NativeEndian
	if len(raw) < btfHeaderSize || native.Uint16(raw) != btfMagic {
		return nil, errors.New("no BTF of this machine")
	}
	k := &kernelTypes{structs: map[string][]uint32{}, targets: map[string]uint32{}, built: map[uint32]btf.Type{}}
	section := func(at int) []byte { // its offset from the header's end and its length
		start, size := uint64(native.Uint32(raw[4:]))+uint64(native.Uint32(raw[at:])), uint64(native.Uint32(raw[at+4:]))
		if start+size > uint64(len(raw)) {
			return nil
		}
		return raw[start : start+size]
	}
	if k.types, k.strings = section(8), section(16); k.types == nil || k.strings == nil {
		return nil, errShort
	}
	// Types are 24 bytes on average. The first ID is 1; 0 stands for void.
	k.offsets = append(make([]uint32, 0, len(k.types)/16), 0)
	for at := 0; at < len(k.types); {
		t, ok := k.header(at)
		if !ok {
			return nil, errShort
		}
		id := uint32(len(k.offsets))
		k.offsets = append(k.offsets, uint32(at))
		if name := k.match(t.name, wanted[t.kind()]); name != "" {
			k.found(t.kind(), name, id)
		}
		extra := t.extra()
		if extra < 0 {
			return nil, fmt.Errorf("type %d is of the unknown kind %d", id, t.kind())
		}
		at += btfTypeSize + extra
		if at > len(k.types) {
			return nil, errShort
		}
	}
	return k, nil
}

// found keeps a type that was asked for.
func (k *kernelTypes) found(kind int, name string, id uint32) {
	if kind == kindStruct {
		k.structs[name] = append(k.structs[name], id)
	} else {
		k.targets[name] = id
	}
}

// names are the types to find: by kind, then by the first byte of their name, which
// rules out most of a kernel's types.
type names [32]*[256][]string

// add adds a name, once.
func (n *names) add(kind int, name string) {
	if n[kind] == nil {
		n[kind] = new([256][]string)
	}
	if same := &n[kind][name[0]]; !slices.Contains(*same, name) {
		*same = append(*same, name)
	}
}

// match returns the name at an offset of the strings if it is one of those wanted.
func (k *kernelTypes) match(offset uint32, wanted *[256][]string) string {
	if wanted == nil || offset >= uint32(len(k.strings)) {
		return ""
	}
	text := k.strings[offset:]
	for _, name := range wanted[text[0]] {
		if len(text) > len(name) && text[len(name)] == 0 && string(text[:len(name)]) == name {
			return name
		}
	}
	return ""
}

// name returns the name at an offset of the strings; empty where there is none.
func (k *kernelTypes) name(offset uint32) string {
	if offset >= uint32(len(k.strings)) {
		return ""
	}
	name, _, _ := bytes.Cut(k.strings[offset:], []byte{0})
	return string(name)
}

// header reads the header of the type at an offset.
func (k *kernelTypes) header(at int) (btfType, bool) {
	if at+btfTypeSize > len(k.types) {
		return btfType{}, false
	}
	raw := k.types[at:][:btfTypeSize]
	native := binary.NativeEndian
	return btfType{native.Uint32(raw), native.Uint32(raw[4:]), native.Uint32(raw[8:])}, true
}

// body reads a type's header and what follows it.
func (k *kernelTypes) body(id uint32) (t btfType, extra []byte, err error) {
	if id == 0 || id >= uint32(len(k.offsets)) {
		return t, nil, fmt.Errorf("there is no type %d", id)
	}
	at := int(k.offsets[id])
	t, _ = k.header(at) // findKernelTypes has read all of them
	return t, k.types[at+btfTypeSize:][:t.extra()], nil
}

// layout returns the structs that were found. Each has only those members that the
// struct of the same name in locals has, and its pointers point to nothing: relocating
// a program looks at no more.
func (k *kernelTypes) layout(locals map[string]*btf.Struct) (*btf.Spec, error) {
	var found []btf.Type
	for name, ids := range k.structs {
		for _, id := range ids {
			typ, err := k.prune(id, locals[name])
			if err != nil {
				return nil, fmt.Errorf("struct %s: %w", name, err)
			}
			found = append(found, typ)
		}
	}
	b, err := btf.NewBuilder(found, nil)
	if err != nil {
		return nil, err
	}
	return b.Spec()
}

// maxSteps bounds how many types and members layout looks at. A kernel's need a small
// part of it; types that contain themselves come to an end.
const maxSteps = 100000

var errEndless = errors.New("a type without end")

// prune returns a type with only what the local type names. A nil local type names
// nothing.
func (k *kernelTypes) prune(id uint32, local btf.Type) (btf.Type, error) {
	if id == 0 {
		return (*btf.Void)(nil), nil
	}
	if k.steps++; k.steps > maxSteps {
		return nil, errEndless
	}
	t, extra, err := k.body(id)
	if err != nil {
		return nil, err
	}
	switch t.kind() {
	case kindTypedef, kindVolatile, kindConst, kindRestrict, kindTypeTag:
		return k.prune(t.sizeOrType, local)
	case kindPtr:
		return &btf.Pointer{Target: (*btf.Void)(nil)}, nil
	case kindInt:
		return &btf.Int{Size: t.sizeOrType, Name: "int"}, nil
	case kindEnum:
		return &btf.Enum{Name: k.name(t.name), Size: t.sizeOrType}, nil
	case kindArray:
		var elem btf.Type
		if a, ok := underlying(local).(*btf.Array); ok {
			elem = a.Type
		}
		native := binary.NativeEndian
		typ, err := k.prune(native.Uint32(extra), elem)
		if err != nil {
			return nil, err
		}
		return &btf.Array{Index: &btf.Int{Size: 4, Name: "int"}, Type: typ, Nelems: native.Uint32(extra[8:])}, nil
	case kindStruct, kindUnion:
		return k.pruneMembers(id, t, extra, local)
	}
	return (*btf.Void)(nil), nil // no program reads others
}

// pruneMembers is prune for a struct or union.
func (k *kernelTypes) pruneMembers(id uint32, t btfType, extra []byte, local btf.Type) (btf.Type, error) {
	name := k.name(t.name)
	if typ, ok := k.built[id]; ok && name != "" {
		return typ, nil
	}
	wanted := membersOf(local)
	var kept []btf.Member
	for ; len(extra) >= btfMemberSize; extra = extra[btfMemberSize:] {
		if k.steps++; k.steps > maxSteps {
			return nil, errEndless
		}
		native := binary.NativeEndian
		m := btf.Member{Name: k.name(native.Uint32(extra)), Offset: btf.Bits(native.Uint32(extra[8:]))}
		if t.info>>31 != 0 { // some members have a size in bits
			m.BitfieldSize, m.Offset = m.Offset>>24, m.Offset&0xffffff
		}
		within, ok := wanted[m.Name]
		if m.Name == "" {
			within, ok = local, true // its members are named as if they stood here
		}
		if !ok {
			continue
		}
		var err error
		if m.Type, err = k.prune(native.Uint32(extra[4:]), within); err != nil {
			return nil, err
		}
		kept = append(kept, m)
	}
	var typ btf.Type = &btf.Struct{Name: name, Size: t.sizeOrType, Members: kept}
	if t.kind() == kindUnion {
		typ = &btf.Union{Name: name, Size: t.sizeOrType, Members: kept}
	}
	k.built[id] = typ
	return typ, nil
}

// underlying returns a type without its qualifiers and names; nil is nil.
func underlying(typ btf.Type) btf.Type {
	if typ == nil {
		return nil
	}
	return btf.UnderlyingType(typ)
}

// membersOf returns the types of a composite's members by name.
func membersOf(typ btf.Type) map[string]btf.Type {
	var members []btf.Member
	switch typ := underlying(typ).(type) {
	case *btf.Struct:
		members = typ.Members
	case *btf.Union:
		members = typ.Members
	}
	byName := make(map[string]btf.Type, len(members))
	for _, m := range members {
		byName[m.Name] = m.Type
	}
	return byName
}
