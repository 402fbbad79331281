package snapshot

import "iter"

// readRows reads a file and yields what a parser makes of it.
func readRows[T any](proc, name string, parse func([]byte) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		file, err := readFile(proc, name)
		if err != nil {
			var none T
			yield(none, err)
			return
		}
		parse(file)(yield)
	}
}
