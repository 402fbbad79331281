package filter

import "strings"

// matchesPattern compares a text with a pattern of fnmatch(3), in any case: * is any
// text, / and a leading period too, ? any byte, [...] one of some bytes, and \ takes the
// next byte as it is.
func matchesPattern(pattern, text string) bool {
	star, from := -1, 0 // the last * and what it is compared with next
	p, i := 0, 0
	for i < len(text) {
		if p < len(pattern) && pattern[p] == '*' {
			star, from = p, i
			p++
			continue
		}
		if size, ok := matchesByte(pattern[p:], text[i]); ok {
			p += size
			i++
			continue
		}
		if star < 0 {
			return false
		}
		from++
		p, i = star+1, from
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchesByte compares a byte with the first item of a pattern, whose size it returns.
func matchesByte(pattern string, c byte) (size int, ok bool) {
	if pattern == "" {
		return 0, false
	}
	switch end := closesAt(pattern); {
	case pattern[0] == '?':
		return 1, true
	case end > 0:
		return end + 1, inClass(pattern[1:end], lower(c))
	case pattern[0] == '\\' && len(pattern) > 1:
		return 2, lower(pattern[1]) == lower(c)
	}
	return 1, lower(pattern[0]) == lower(c)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// closesAt returns where the ] of a class stands, or 0. One right behind the [ or the !
// is of the class.
func closesAt(pattern string) int {
	if pattern[0] != '[' {
		return 0
	}
	first := 1
	if first < len(pattern) && (pattern[first] == '!' || pattern[first] == '^') {
		first++
	}
	if first++; first > len(pattern) {
		return 0
	}
	if i := strings.IndexByte(pattern[first:], ']'); i >= 0 {
		return first + i
	}
	return 0
}

// inClass reports whether a byte is one of a class, or with ! or ^ none of it.
func inClass(class string, c byte) bool {
	negated := class[0] == '!' || class[0] == '^'
	if negated {
		class = class[1:]
	}
	for i := 0; i < len(class); i++ {
		low, high := class[i], class[i]
		if i+2 < len(class) && class[i+1] == '-' {
			high = class[i+2]
			i += 2
		}
		if lower(low) <= c && c <= lower(high) {
			return !negated
		}
	}
	return negated
}
