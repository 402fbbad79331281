package output

import "github.com/nettrace/nettrace/snapshot"

// flagLetter is the letter that stands for a flag of a route.
type flagLetter struct {
	flag   snapshot.RouteFlags
	letter string
}

var routeLetters = []flagLetter{
	{0x4, "H"},
	{0x8, "R"},
	{0x10, "D"},
	{0x20, "M"},
	{0x10000, "d"},
	{0x20000, "a"},
	{0x40000, "c"},
	{0x200000, "o"},
	{0x400000, "e"},
	{0x1000000, "c"},
	{0x2000000, "f"},
	{0x4000000, "p"},
	{0x80000000, "l"},
	{0x40, "u"},
	{0x80, "w"},
	{0x100, "i"},
	{0x400, "n"},
}

var cachedRouteLetters = []flagLetter{
	{0x8, "R"},
	{0x10, "D"},
	{0x20, "M"},
	{0x1, "-"},
	{0x4, "o"},
	{0x10000, "n"},
	{0x20000, "d"},
	{0x80000, "t"},
	{0x200000, "f"},
	{0x400000, "q"},
	{0x800000, "Ns"},
	{0x1000000, "r"},
	{0x4000000, "i"},
	{0x8000000, "Nd"},
	{0x10000000, "b"},
	{0x20000000, "m"},
	{0x40000000, "#"},
	{0x80000000, "l"},
}

// spell appends the letters of the flags.
func spell(letters string, table []flagLetter, flags snapshot.RouteFlags) string {
	for _, l := range table {
		if flags&l.flag != 0 {
			letters += l.letter //nolint:perfsprint // at most a dozen letters
		}
	}
	return letters
}

// routeFlags spells the flags of a route. The mark of a reject route replaces
// those before it.
func routeFlags(f snapshot.RouteFlags) string {
	letters := spell("", []flagLetter{{snapshot.RouteUp, "U"}, {snapshot.RouteGateway, "G"}}, f)
	if f&snapshot.RouteReject != 0 {
		letters = "!"
	}
	return spell(letters, routeLetters, f)
}

func cachedRouteFlags(f snapshot.RouteFlags) string {
	letters := spell("", []flagLetter{{snapshot.RouteGateway, "G"}}, f)
	if f&snapshot.RouteReject != 0 {
		letters = "!"
	}
	return spell(letters, cachedRouteLetters, f)
}
