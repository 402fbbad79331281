package tracer

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/nettrace/nettrace/internal/kernelbtf"
)

// objects read the compiled BPF objects that some protocols need. The programs of all of
// them write into the same maps.
func objects(protocols Protocols) []func() (*ebpf.CollectionSpec, error) {
	read := []func() (*ebpf.CollectionSpec, error){loadStream}
	if protocols.others() != 0 {
		read = append(read, loadSockets)
	}
	return read
}

// extent says which sockets are traced.
type extent struct {
	netns       uint32
	netnsCookie uint64 // SO_NETNS_COOKIE of the namespace; 0: not known
	family      uint16 // 0: both
	protocols   Protocols
}

// settings are the constants of the BPF programs, and how to load them.
type settings struct {
	extent
	wanted     *wanted // of these; nil: all
	pids       pidspace
	wakeupAt   uint64
	cookie     bool     // 5.12: tracing programs may ask for the cookie
	taskBTF    bool     // 5.11: bpf_get_current_task_btf
	unixDirect bool     // 5.16: bpf_skc_to_unix_sock
	probe      bool     // lockdown allows bpf_probe_read_kernel
	countAll   bool     // count the records that are sent
	ringBytes  int      // size of the ring buffer
	kinds      []string // hooks to try by kind ("fentry", "kprobe", …); empty: all
	verifyLogs bool     // keep the verifier's log in errors
	noOwners   bool     // open files are not looked at
}

// write sets the constants of an object, before one of its programs is loaded.
func (s *settings) write(spec *ebpf.CollectionSpec) error {
	w := cmp.Or(s.wanted, new(wanted))
	for name, value := range map[string]any{
		streamVarOnlyNetns:       s.netns,
		streamVarOnlyNetnsCookie: s.netnsCookie,
		streamVarOnlyFamily:      s.family,
		streamVarPidLevel:        s.pids.level,
		streamVarPidInode:        s.pids.inode,
		streamVarWakeupAt:        s.wakeupAt,
		streamVarHasCookie:       s.cookie,
		streamVarHasTaskBtf:      s.taskBTF,
		streamVarCanProbe:        s.probe,
		streamVarCountAll:        s.countAll,
		streamVarHasPortSets:     w.sets != nil,
		streamVarHasAddrAtoms:    w.addrs,
		streamVarWantedAtoms:     w.atoms,
		streamVarWantedAtomCount: w.atomCount,
		streamVarWantedTerms:     w.terms,
		streamVarWantedTermCount: w.termCount,
		socketsVarTraceUdp:       s.protocols.Has(UDP),
		socketsVarTraceUdplite:   s.protocols.Has(UDPLite),
		socketsVarTraceRaw:       s.protocols.Has(Raw),
		socketsVarTraceUnix:      s.protocols.Has(Unix),
		socketsVarUnixDirect:     s.unixDirect,
	} {
		v := spec.Variables[name]
		if v == nil {
			continue // none of its programs reads this one
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// newHooks makes the maps; no program is loaded yet.
func newHooks(set settings) (*hooks, error) {
	h := &hooks{
		maps:     &ebpf.Collection{Maps: make(map[string]*ebpf.Map), Variables: make(map[string]*ebpf.Variable)},
		set:      set,
		chosen:   make(map[Capability]string),
		programs: make(map[string]*ebpf.Program),
		links:    make(map[string]io.Closer),
	}
	for _, read := range objects(set.protocols) {
		if err := h.addObject(read); err != nil {
			h.close()
			return nil, err
		}
	}
	h.types = readTypes(h.objects, set.verifyLogs)
	if set.wanted != nil {
		if err := set.wanted.writeSets(h.maps.Maps[streamMapPortSets]); err != nil {
			h.close()
			return nil, err
		}
	}
	return h, nil
}

// addObject reads an object and makes those of its maps that are not there yet.
func (h *hooks) addObject(read func() (*ebpf.CollectionSpec, error)) error {
	spec, err := read()
	if err != nil {
		return fmt.Errorf("read the BPF object: %w", err)
	}
	spec.Maps[streamMapEvents].MaxEntries = uint32(h.set.ringBytes)
	o, err := newObject(spec, h.maps.Maps)
	if err != nil {
		return fmt.Errorf("create the BPF maps: %w", err)
	}
	h.objects = append(h.objects, o)
	maps.Copy(h.maps.Maps, o.maps.Maps)
	maps.Copy(h.maps.Variables, o.maps.Variables)
	return nil
}

// objectOf finds the object that has a program.
func (h *hooks) objectOf(program string) *object {
	i := slices.IndexFunc(h.objects, func(o *object) bool { return o.spec.Programs[program] != nil })
	return h.objects[i]
}

// load loads programs, each by itself and all at the same time: the kernel verifies
// one of them for up to 20 ms. If one fails, none is kept.
func (h *hooks) load(names []string) error {
	var (
		wg       sync.WaitGroup
		programs = make([]*ebpf.Program, len(names))
		errs     = make([]error, len(names))
	)
	for i, name := range names {
		wg.Go(func() { programs[i], errs[i] = h.objectOf(name).load(name, &h.set, h.types) })
	}
	wg.Wait()
	for i, name := range names {
		if programs[i] != nil {
			h.programs[name] = programs[i]
		}
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		h.drop(names)
		return errs[i]
	}
	return nil
}

// object is a compiled BPF object: programs that are not loaded yet, and the maps
// that they will use.
type object struct {
	spec *ebpf.CollectionSpec
	maps *ebpf.Collection
}

// newObject makes the maps of an object, but for those that have the name of one of
// the shared maps. Variables (".bss") are each object's own.
func newObject(spec *ebpf.CollectionSpec, shared map[string]*ebpf.Map) (*object, error) {
	replace := make(map[string]*ebpf.Map)
	for name, m := range shared {
		if spec.Maps[name] != nil && !strings.HasPrefix(name, ".") {
			replace[name] = m
		}
	}
	bare := spec.Copy()
	bare.Programs = nil
	made, err := ebpf.NewCollectionWithOptions(bare, ebpf.CollectionOptions{MapReplacements: replace})
	if err != nil {
		return nil, err
	}
	return &object{spec, made}, nil
}

// load loads a program of the object, on the object's maps. Constants (".rodata") are
// the program's own, as the settings may change between two of them.
func (o *object) load(program string, set *settings, types kernelTypes) (*ebpf.Program, error) {
	spec := *o.spec
	spec.Programs = map[string]*ebpf.ProgramSpec{program: o.spec.Programs[program]}
	one := spec.Copy()
	if err := set.write(one); err != nil {
		return nil, err
	}
	replace := maps.Clone(o.maps.Maps)
	delete(replace, ".rodata")
	p, err := types.load(one, program, ebpf.CollectionOptions{
		MapReplacements: replace,
		Programs:        ebpf.ProgramOptions{LogDisabled: !set.verifyLogs},
	})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", spec.Programs[program].SectionName, err)
	}
	return p, nil
}

// kernelTypes are what programs are relocated to.
type kernelTypes struct {
	few *kernelbtf.Loader // nil where package ebpf is to read all of them
	all *btf.Cache
}

// readTypes reads what the programs of the objects need. Package ebpf loads them
// instead where the verifier's log is wanted, and where the kernel's BTF is not in
// its place.
func readTypes(objects []*object, logs bool) kernelTypes {
	t := kernelTypes{all: btf.NewCache()}
	if logs {
		return t
	}
	var specs []*ebpf.CollectionSpec
	for _, o := range objects {
		specs = append(specs, o.spec)
	}
	if few, err := kernelbtf.NewLoader(specs...); err == nil {
		t.few = few
	}
	return t
}

// load loads the only program of a spec.
func (t kernelTypes) load(one *ebpf.CollectionSpec, program string, opts ebpf.CollectionOptions) (*ebpf.Program, error) {
	p := one.Programs[program]
	direct := t.few != nil && kernelbtf.Loads(p)
	if direct {
		one.Programs = nil // what is left to make is its constants
	}
	if t.few != nil {
		opts.Programs.KernelTypes = t.few.Types()
	}
	opts.Cache = t.all
	coll, err := ebpf.NewCollectionWithOptions(one, opts)
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	if direct {
		return t.few.Load(p, coll.Maps)
	}
	return coll.DetachProgram(program), nil
}
