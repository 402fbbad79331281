package stream

import (
	"github.com/nettrace/nettrace/internal/field"
)

// NewFiltered is New with the filter of the options.
func NewFiltered(source Source, opts Options) (*Stream, error) {
	s := New(source, opts)
	err := s.bind(field.Stream)
	return s, err
}

// FilterStage is the stage of a run that filters, before another one.
func FilterStage(opts Options, next Handler) (Handler, error) {
	s := New(nil, opts)
	err := s.bind(field.Stream)
	return &filter{Handler: next, listening: opts.Listening, matcher: s.matcher}, err
}
