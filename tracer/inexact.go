package tracer

// Inexact lists what cannot be reported exactly, for hooks that were tried: the
// capabilities for which none of them was chosen.
func Inexact(hooks []Hook) []string {
	var order []Capability
	has := make(map[Capability]bool)
	for _, h := range hooks {
		if _, known := has[h.Capability]; !known {
			order = append(order, h.Capability)
		}
		has[h.Capability] = has[h.Capability] || h.Chosen
	}
	var without []string
	for _, c := range order {
		if !has[c] {
			without = append(without, "no hook for "+string(c)+": "+c.Inexact())
		}
	}
	return without
}
