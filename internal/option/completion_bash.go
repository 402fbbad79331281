package option

import (
	"fmt"
	"strings"
)

// bashScript completes the word before the cursor. It takes words at blanks, as the
// program does: bash itself splits them at = and :, too, and replaces only what follows.
const bashScript = `# bash completion of %[1]s, written by %[1]s --completion=bash

# Says what the value of an option may be: words, whether they make a list, names of files.
_%[1]s_value() {
	case $1 in
%[3]s	*) return 1 ;;
	esac
	return 0
}

_%[1]s() {
	local line=${COMP_LINE:0:COMP_POINT} words='' list='' files='' IFS=$' \t\n'
	local word=${line##*[[:space:]]} before prefix='' value at
	before=${line%%"$word"}
	before=${before%%"${before##*[![:space:]]}"}
	before=${before##*[[:space:]]}
	COMPREPLY=()
	if [[ $word == --*=* ]]; then
		prefix=${word%%%%=*}=
		_%[1]s_value "$prefix" || return 0
	elif ! _%[1]s_value "$before"; then
		[[ $word == -* ]] || return 0
		words='%[2]s'
	fi
	value=${word#"$prefix"}
	if [[ $words == '<places>' ]]; then
		words='%[4]s' files=1
		[[ $value == *,* ]] && words='%[5]s' list=1 files=
	fi
	if [[ $list ]]; then
		prefix+=${value%%"${value##*,}"}
		value=${value##*,}
		[[ $value == [+-]* ]] && prefix+=${value:0:1} value=${value:1}
		compopt -o nospace
	fi
	[[ ! $files ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$value")
	if [[ $files ]]; then
		[[ $value == unix*:* ]] && prefix+=${value%%%%:*}: value=${value#*:} words=
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$value"; compgen "$([[ $files == d ]] && echo -d || echo -f)" -- "$value")
	fi
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:] ]] && compopt -o nospace
	at=${COMP_WORDS[COMP_CWORD]}
	[[ $at == [=:] ]] && at=
	line=${word%%"$at"}
	COMPREPLY=("${COMPREPLY[@]/#/$prefix}")
	COMPREPLY=("${COMPREPLY[@]#"$line"}")
}

complete -F _%[1]s %[1]s
`

// bash returns the completion script for bash.
func (t *Table) bash(p *Program) string {
	var names []string
	var cases strings.Builder
	for _, o := range t.completed() {
		name := "--" + o.Name
		names = append(names, name)
		if o.Letter != "" {
			names = append(names, "-"+o.Letter)
		}
		if _, optional := o.Into.(Optional); optional {
			fmt.Fprintf(&cases, "\t%s=) %s ;;\n", name, p.bashValue(o.Values))
		} else if o.takesValue() {
			pattern := name + " | " + name + "="
			if o.Letter != "" {
				pattern += " | -" + o.Letter
			}
			fmt.Fprintf(&cases, "\t%s) %s ;;\n", pattern, p.bashValue(o.Values))
		}
	}
	return fmt.Sprintf(bashScript, p.Name, strings.Join(names, " "), cases.String(), placeWords, placeKeys)
}

// bashValue returns the assignments that say what a value may be.
func (p *Program) bashValue(v Values) string {
	list := ""
	if v.isList() {
		list = " list=1"
	}
	switch v {
	case Anything:
		return "words="
	case Files:
		return "files=1"
	case Dirs:
		return "files=d"
	case Netns:
		return `words=$(command ls /run/netns 2>/dev/null) files=1`
	case Users:
		return "words=$(compgen -u)"
	case Places:
		return "words='<places>'"
	}
	return "words=" + quoted(strings.Join(p.words(v), " ")) + list
}
