package outputs

import (
	"math"
	"slices"
	"strings"

	"github.com/nettrace/nettrace/internal/bytesize"
	"github.com/nettrace/nettrace/internal/fieldlist"
	"github.com/nettrace/nettrace/internal/option"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
)

// Options are what the command line says of outputs. The zero value is stdout alone.
type Options struct {
	Places []string // as --output has them; none: stdout
	Queue  int      // bytes of lines that wait for each output at most; 0: sink.LimitStandard
	Block  bool     // the reader of the kernel's events waits for a full queue
	Rotate sink.Rotation
	Schema string // native or ecs; empty: native
}

// leastQueue is a queue with room for what is handed over at once, several times.
const leastQueue = 1 << 20

// Rows returns the options of the command line.
func (o *Options) Rows(heading string) []option.Option {
	return []option.Option{
		{
			Name: "output", Heading: heading, Values: option.Places, Into: &o.Places,
			Usage: "with -c, write records to a `PLACE`: FILE, - for stdout, unix:PATH, unixgram:PATH or tcp:HOST:PORT, and with commas " +
				"events=, schema=, fields=A+B, rotate-size=, rotate-age=, rotate-keep=, compress=gzip; may be repeated",
		},
		{Name: "queue-bytes", Heading: heading, Usage: "with -c, let up to `SIZE` wait for each output", Standard: "64M", Into: o.setQueue},
		{Name: "on-stall", Heading: heading, Usage: "with -c, when that is full, drop: leave records out and count them (the default), or block: let the kernel's buffer fill (`WHAT`)", Values: "drop block", Into: o.setStall},
		{Name: "rotate-size", Heading: heading, Usage: "with --output, begin a new file before it is larger than `SIZE`, such as 256M", Standard: "never", Into: of("rotate-size", o.Rotate.SetSize)},
		{Name: "rotate-age", Heading: heading, Usage: "with --output, begin a new file after a time `D`, such as 24h", Standard: "never", Into: of("rotate-age", o.Rotate.SetAge)},
		{Name: "rotate-keep", Heading: heading, Usage: "with --output, keep `N` files besides, FILE.1 the newest", Standard: "5", Into: of("rotate-keep", o.Rotate.SetKeep)},
		{Name: "rotate-compress", Heading: heading, Usage: "with --output, compress FILE.2 and older by `HOW`: gzip, or none", Standard: "none", Values: "gzip none", Into: of("rotate-compress", o.Rotate.SetCompress)},
		{Name: "schema", Heading: heading, Usage: "with -c, the names in JSON: `WHICH` is native or ecs (Elastic Common Schema)", Standard: "native", Values: "native ecs", Into: o.setSchema},
	}
}

// of names the option in the errors of what sets it.
func of(name string, set func(string) error) func(string) error {
	return func(text string) error {
		if err := set(text); err != nil {
			return option.Errorf("option '--%s' %v", name, err)
		}
		return nil
	}
}

func (o *Options) setQueue(text string) error {
	size, ok := bytesize.Parse(text)
	if !ok || size < leastQueue || size > math.MaxInt32 {
		return option.Errorf("option '--queue-bytes' needs a size from 1M to 2047M, such as 64M, not '%s'", text)
	}
	o.Queue = int(size)
	return nil
}

func (o *Options) setStall(word string) error {
	if word != "drop" && word != "block" {
		return option.Errorf("option '--on-stall' takes drop or block, not '%s'", word)
	}
	o.Block = word == "block"
	return nil
}

// Choice is outputs as they were given and, after Choose, as they were read.
type Choice struct {
	Options
	Read *Plan // nil: nothing is streamed
}

// Choose reads what is asked for, as Plan does.
func (c *Choice) Choose(kinds []output.RecordKind, events stream.Events, fields string) (err error) {
	c.Read, err = c.Plan(kinds, events, fields)
	return err
}

// Stdout reports whether something is written to stdout.
func (c *Choice) Stdout() bool {
	return c.Read == nil || c.Read.has(sink.ToStdout)
}

// has reports whether one of the places is of a kind.
func (p *Plan) has(kind sink.Kind) bool {
	return slices.ContainsFunc(p.places, func(o place) bool { return o.spec.Kind == kind })
}

// schemas are the forms of records by their name.
var schemas = map[string]stream.Schema{"": stream.Native, "native": stream.Native, "ecs": stream.ECS}

func (o *Options) setSchema(name string) error {
	if schemas[name] == nil || name == "" {
		return option.Errorf("option '--schema' takes native or ecs, not '%s'", name)
	}
	o.Schema = name
	return nil
}

// Named reports whether places are named.
func (o *Options) Named() bool { return len(o.Places) > 0 }

// Records reports whether the outputs take records alone, and no text.
func (o *Options) Records() bool { return o.Named() || o.Schema != "" }

// given reports whether something is said of outputs.
func (o *Options) given() bool {
	return o.Named() || o.Queue != 0 || o.Block || o.Rotate != (sink.Rotation{}) || o.Schema != ""
}

// Plan is the outputs of a run, read and checked.
type Plan struct {
	opts   Options
	places []place
	events stream.Events // that are enough for all
}

// place is one output.
type place struct {
	spec   sink.Spec
	events stream.Events
	schema stream.Schema
	fields []string // of its records; nil: all
}

// Plan reads what is asked for, for a stream of kinds of records; it returns nil where
// there is no kind, as nothing is streamed. events and fields are what the places have
// that say nothing of them. Errors are of type *option.Error.
func (o *Options) Plan(kinds []output.RecordKind, events stream.Events, fields string) (*Plan, error) {
	if o.given() && len(kinds) == 0 {
		return nil, option.Errorf("options about outputs (--output, --queue-bytes, --on-stall, --rotate-..., --schema) need -c and %s", stream.Kinds)
	}
	if len(kinds) == 0 {
		return nil, nil
	}
	standard := sink.Spec{Kind: sink.ToStdout, Events: events.String(), Schema: o.Schema, Fields: fields, Rotate: o.Rotate}
	specs := []sink.Spec{standard}
	if o.Named() {
		specs = specs[:0]
		for _, text := range o.Places {
			spec, err := sink.ParseSpec(text, &standard)
			if err != nil {
				return nil, option.Errorf("option '--output': %v", err)
			}
			specs = append(specs, spec)
		}
	}
	if err := sink.Distinct(specs); err != nil {
		return nil, option.Errorf("option '--output': %v", err)
	}
	if err := o.checkRotation(specs); err != nil {
		return nil, err
	}
	return o.plan(specs, kinds)
}

// checkRotation checks that what is said of rotation is about one of the outputs.
func (o *Options) checkRotation(specs []sink.Spec) error {
	rotates := o.Rotate.Size > 0 || o.Rotate.Age > 0
	files := 0
	for _, spec := range specs {
		if spec.Kind == sink.ToFile {
			files++
			rotates = rotates || spec.Rotate.Size > 0 || spec.Rotate.Age > 0
		}
	}
	switch {
	case o.Rotate == sink.Rotation{}:
		return nil
	case files == 0:
		return option.Errorf("options '--rotate-...' are about files: name one by --output FILE")
	case !rotates:
		return option.Errorf("options '--rotate-keep' and '--rotate-compress' need --rotate-size or --rotate-age")
	}
	return nil
}

func (o *Options) plan(specs []sink.Spec, kinds []output.RecordKind) (*Plan, error) {
	p := &Plan{opts: *o}
	var events []stream.Events
	for _, spec := range specs {
		place := place{spec: spec, schema: schemas[spec.Schema]}
		place.events, _ = stream.ParseEvents(spec.Events) // the spec was checked
		events = append(events, place.events)
		if spec.Fields != "" && o.Named() {
			v := fieldlist.Records(kinds...)
			fields, err := v.Parse(spec.Fields)
			if err != nil {
				return nil, option.Errorf("option '--output': key 'fields' (or --fields): %v", err)
			}
			place.fields = fields
		}
		p.places = append(p.places, place)
	}
	p.events = stream.Widest(events...)
	return p, nil
}

// Events returns the events that the run has to report for all outputs together.
func (p *Plan) Events() stream.Events { return p.events }

// Closes reports whether one of the outputs, if there are any, has closes alone.
func (p *Plan) Closes() bool {
	return p != nil && slices.ContainsFunc(p.places, func(o place) bool { return o.events.Closes() })
}

// Fails reports whether one of the outputs has failures alone.
func (p *Plan) Fails() bool {
	return slices.ContainsFunc(p.places, func(o place) bool { return o.events == stream.EventsFailed })
}

// needsCmdline reports whether command lines are among the chosen fields.
func (p *place) needsCmdline() bool { return slices.Contains(p.fields, "cmdline") }

// String names the place.
func (p *place) String() string {
	if p.spec.Kind == sink.ToStdout {
		return "stdout"
	}
	return strings.TrimSpace(p.spec.String())
}
