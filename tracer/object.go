package tracer

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
)

// object is a compiled BPF object: programs that are not loaded yet, and the maps
// that they will use.
type object struct {
	spec *ebpf.CollectionSpec
	maps *ebpf.Collection

	mu       sync.Mutex
	rodata   *ebpf.Collection // the settings as its programs read them; nil: not made yet
	settings settings         // which those are
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
	return &object{spec: spec, maps: made}, nil
}

// load loads a program of the object, on the object's maps.
func (o *object) load(program string, set *settings, types kernelTypes) (*ebpf.Program, error) {
	made := maps.Clone(o.maps.Maps)
	if o.spec.Maps[rodata] != nil {
		constants, err := o.constants(set)
		if err != nil {
			return nil, fmt.Errorf("create the BPF constants: %w", err)
		}
		made[rodata] = constants
	}
	p, err := types.load(o.spec, program, made, set.verifyLogs)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", o.spec.Programs[program].SectionName, err)
	}
	return p, nil
}

// rodata is the map that holds the constants of an object.
const rodata = ".rodata"

// constants returns the map with the settings. Programs share it until the settings
// change; a program keeps the one that it was loaded with.
func (o *object) constants(set *settings) (*ebpf.Map, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rodata != nil && reflect.DeepEqual(o.settings, *set) {
		return o.rodata.Maps[rodata], nil
	}
	spec := *o.spec.Maps[rodata]
	contents, ok := spec.Contents[0].Value.([]byte)
	if !ok {
		return nil, fmt.Errorf("contents of type %T", spec.Contents[0].Value)
	}
	contents = slices.Clone(contents)
	if err := set.write(contents, o.spec.Variables); err != nil {
		return nil, err
	}
	spec.Contents = []ebpf.MapKV{{Key: uint32(0), Value: contents}}
	made, err := ebpf.NewCollection(&ebpf.CollectionSpec{
		Maps: map[string]*ebpf.MapSpec{rodata: &spec}, ByteOrder: o.spec.ByteOrder,
	})
	if err != nil {
		return nil, err
	}
	o.releaseConstants()
	o.rodata, o.settings = made, *set
	return made.Maps[rodata], nil
}

func (o *object) releaseConstants() {
	if o.rodata != nil {
		o.rodata.Close()
		o.rodata = nil
	}
}

// release drops what only loading needs.
func (o *object) release() {
	o.releaseConstants()
	o.spec = nil
}

// write sets the constants of an object in the contents of their map.
func (s *settings) write(contents []byte, variables map[string]*ebpf.VariableSpec) error {
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
		closesVarOnlyFailed:      s.closes == FailedCloses,
		closesVarLivesMask:       keptMost - 1,
		streamVarHasPortSets:     w.sets != nil,
		streamVarHasAddrAtoms:    w.addrs,
		streamVarHasNetnsAtoms:   w.netns,
		streamVarThreeCopies:     s.threeCopies,
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
		if variables[name] == nil {
			continue // none of its programs reads this one
		}
		v := *variables[name]
		v.Value = slices.Clone(v.Value)
		if err := v.Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		copy(contents[v.Offset:], v.Value)
	}
	return nil
}
