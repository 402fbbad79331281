package option

import "strings"

// Values are what a value may be, for the completion: words separated by blanks, or one
// of those below. A leading comma makes it a list of them, separated by commas.
type Values string

// Values that are not written out.
const (
	Anything Values = ""                 // a number, a time, an expression
	Files    Values = "<files>"          // the names of files
	Dirs     Values = "<dirs>"           // the names of directories
	Netns    Values = "<netns>"          // named network namespaces, and files
	Users    Values = "<users>"          // users of this machine
	Places   Values = "<places>"         // where --output goes, with its options
	Listen   Values = "unix: localhost:" // where connections are waited for
	Fields   Values = ",<fields>"        // a list of the fields of records
	Groups   Values = ",<measures>"      // a list of what a summary groups by, and of its measures
	Measure  Values = "<measures>"       // one of them
)

// isList reports whether several values may stand behind one another.
func (v Values) isList() bool { return strings.HasPrefix(string(v), ",") }

// kind returns the values without the mark of a list.
func (v Values) kind() Values { return Values(strings.TrimPrefix(string(v), ",")) }

// words returns the words of v, those of a field or measure from the program.
func (p *Program) words(v Values) []string {
	switch kind := v.kind(); {
	case kind == Fields.kind():
		return p.Fields()
	case kind == Measure:
		return p.Measures()
	case strings.HasPrefix(string(kind), "<"):
		return nil
	default:
		return strings.Fields(string(kind))
	}
}

// Where an output can be, and what can stand behind that.
const (
	placeWords = "- unix: unixgram: tcp:"
	placeKeys  = "events=all events=close events=failed schema=native schema=ecs fields= rotate-size= rotate-age= rotate-keep= compress=gzip"
)
