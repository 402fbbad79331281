package option

import (
	"fmt"
	"strings"
)

// zshScript has what the specifications of the options call.
const zshScript = `#compdef %[1]s
# zsh completion of %[1]s, written by %[1]s --completion=zsh

# The words of a list that is typed, behind what stands there already.
_%[1]s_list() {
	compset -P '*,'
	compset -P '[+-]'
	compadd -S '' -- "$@"
}

_%[1]s_netns() {
	local -a names=(/run/netns/*(N:t))
	compadd -a names
	_files
}

# A place of an output, and behind a comma its options.
_%[1]s_places() {
	if compset -P '*,'; then
		compadd -S '' -- %[4]s
	else
		compset -P 'unix*:' || compadd -S '' -- %[3]s
		_files
	fi
}

_arguments -s :%[2]s
`

// zsh returns the completion script for zsh.
func (t *Table) zsh(p *Program) string {
	var specs strings.Builder
	for _, o := range t.completed() {
		text := zshQuoted(o.describes())
		_, optional := o.Into.(Optional)
		value := ""
		switch argument := zshQuoted(o.argument()); {
		case optional:
			value = "::" + argument + ":" + p.zshValue(o.Values)
		case o.takesValue():
			value = ":" + argument + ":" + p.zshValue(o.Values)
		}
		long := "--" + o.Name
		if optional {
			long += "=-"
		} else if o.takesValue() {
			long += "="
		}
		fmt.Fprintf(&specs, " \\\n\t'*%s[%s]%s'", long, text, value)
		if o.Letter != "" {
			fmt.Fprintf(&specs, " \\\n\t'*-%s[%s]%s'", o.Letter, text, value)
		}
	}
	return fmt.Sprintf(zshScript, p.Name, specs.String(), placeWords, placeKeys)
}

// zshValue returns the action of a specification.
func (p *Program) zshValue(v Values) string {
	switch v {
	case Anything:
		return ""
	case Files:
		return "_files"
	case Dirs:
		return "_files -/"
	case Netns:
		return "_" + p.Name + "_netns"
	case Users:
		return "_users"
	case Places:
		return "_" + p.Name + "_places"
	}
	words := strings.Join(p.words(v), " ")
	if v.isList() {
		return "{_" + p.Name + "_list " + words + "}"
	}
	return "(" + zshQuoted(words) + ")"
}

// zshQuoted keeps a text from being taken for a part of a specification in single quotes.
func zshQuoted(text string) string {
	return strings.NewReplacer("'", "", `\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(text)
}
