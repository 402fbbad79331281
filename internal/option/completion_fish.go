package option

import (
	"fmt"
	"strings"
)

// fishScript has what the lines of the options call.
const fishScript = `# fish completion of %[1]s, written by %[1]s --completion=fish

# The words of a list that is typed: each behind what stands there already.
function __%[1]s_list
	set -l value (commandline -ct | string replace -r '^--[a-z-]+=' '')
	set -l typed (string match -r '^(?:.*,)?[+-]?' -- "$value")
	printf '%%s\n' "$typed"$argv
end

# A place of an output, and behind a comma its options.
function __%[1]s_places
	set -l value (commandline -ct | string replace -r '^--[a-z-]+=' '')
	set -l scheme (string match -r '^unix(?:gram)?:' -- "$value")
	if string match -q '*,*' -- "$value"
		__%[1]s_list %[3]s
	else if test -n "$scheme"
		string replace -r '^' "$scheme" -- (__fish_complete_path (string replace "$scheme" '' -- "$value"))
	else
		printf '%%s\n' %[2]s
		__fish_complete_path "$value"
	end
end

complete -c %[1]s -f
`

// fish returns the completion script for fish.
func (t *Table) fish(p *Program) string {
	var b strings.Builder
	fmt.Fprintf(&b, fishScript, p.Name, placeWords, placeKeys)
	for _, o := range t.completed() {
		fmt.Fprintf(&b, "complete -c %s -l %s", p.Name, o.Name)
		if o.Letter != "" {
			fmt.Fprintf(&b, " -s %s", o.Letter)
		}
		if _, optional := o.Into.(Optional); optional {
			fmt.Fprintf(&b, " -a %s", p.fishValue(o.Values))
		} else if o.takesValue() {
			fmt.Fprintf(&b, " -x -a %s", p.fishValue(o.Values))
		}
		fmt.Fprintf(&b, " -d %s\n", quoted(o.describes()))
	}
	return b.String()
}

// fishValue returns the argument of complete -a: words, or a command that prints them.
func (p *Program) fishValue(v Values) string {
	switch v {
	case Anything:
		return "''"
	case Files:
		return "'(__fish_complete_path)'"
	case Dirs:
		return "'(__fish_complete_directories)'"
	case Netns:
		return "'(command ls /run/netns 2>/dev/null; __fish_complete_path)'"
	case Users:
		return "'(__fish_complete_users)'"
	case Places:
		return "'(__" + p.Name + "_places)'"
	}
	words := strings.Join(p.words(v), " ")
	if v.isList() {
		return "'(__" + p.Name + "_list " + words + ")'"
	}
	return quoted(words)
}
