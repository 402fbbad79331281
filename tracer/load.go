package tracer

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/nettrace/nettrace/internal/kernelbtf"
)

// objects read the compiled BPF objects that some protocols need. The programs of all of
// them write into the same maps.
func (s *settings) objects() []func() (*ebpf.CollectionSpec, error) {
	if s.closes != AllChanges {
		return []func() (*ebpf.CollectionSpec, error){loadCloses}
	}
	read := []func() (*ebpf.CollectionSpec, error){loadStream}
	if s.protocols.Others() != 0 {
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
	wanted   *wanted // of these; nil: all
	pids     pidspace
	wakeupAt uint64
	helpers
	countAll    bool     // count the records that are sent
	threeCopies bool     // two copies of a program that runs in tasks and softirqs do not suffice
	ringBytes   int      // size of the ring buffer
	kinds       []string // hooks to try by kind ("fentry", "kprobe", …); empty: all
	verifyLogs  bool     // keep the verifier's log in errors
	wishes
}

// wishes are what is asked for.
type wishes struct {
	noOwners bool   // open files are not looked at
	closes   Closes // what is kept until connections end
}

// helpers are what programs may ask of this kernel.
type helpers struct {
	cookie     bool // 5.12: tracing programs may ask for the cookie
	taskBTF    bool // 5.11: bpf_get_current_task_btf
	unixDirect bool // 5.16: bpf_skc_to_unix_sock
	probe      bool // lockdown allows bpf_probe_read_kernel
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
	for _, read := range set.objects() {
		if err := h.addObject(read); err != nil {
			h.close()
			return nil, err
		}
	}
	h.types = readTypes(h.objects, set.verifyLogs)
	h.set.threeCopies = h.types.few == nil || h.types.few.PreemptsTracepoints()
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

// load loads a program of an object, with maps by their names.
func (t kernelTypes) load(o *ebpf.CollectionSpec, program string, made map[string]*ebpf.Map, logs bool) (*ebpf.Program, error) {
	p := o.Programs[program].Copy() // package ebpf changes what it loads
	if t.few != nil && kernelbtf.Loads(p) {
		return t.few.Load(p, made)
	}
	opts := ebpf.CollectionOptions{MapReplacements: made, Cache: t.all, Programs: ebpf.ProgramOptions{LogDisabled: !logs}}
	if t.few != nil {
		opts.Programs.KernelTypes = t.few.Types()
	}
	one := &ebpf.CollectionSpec{
		Maps: o.Maps, Programs: map[string]*ebpf.ProgramSpec{program: p}, ByteOrder: o.ByteOrder, Types: o.Types,
	}
	coll, err := ebpf.NewCollectionWithOptions(one, opts)
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(program), nil
}
