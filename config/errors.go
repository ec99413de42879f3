package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing wrong with the configuration.
type Error struct {
	Origin  Origin // where the wrong value stands
	Key     string // full key, such as supabase.url; empty where a file can't be read at all
	Problem string // what was expected and found; never a secret's value
}

// Error writes "FILE:LINE: KEY: PROBLEM" for a value of the file, and the
// variable or flag in front for others.
func (e *Error) Error() string {
	s := e.Problem
	if e.Key != "" {
		s = e.Key + ": " + s
	}
	if e.Origin.Kind != FromDefault && e.Origin.Kind != Derived {
		s = e.Origin.String() + ": " + s
	}
	return s
}

// Errors is everything wrong with the configuration, in the order of the file,
// then of the tree. It is never empty when returned as an error.
type Errors []*Error

// Error writes one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single errors to errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, err := range e {
		all[i] = err
	}
	return all
}

func (e *Errors) add(origin Origin, key, format string, args ...any) {
	*e = append(*e, &Error{Origin: origin, Key: key, Problem: fmt.Sprintf(format, args...)})
}

// orNil puts the errors in order and returns them, or nil if there are none.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	position := make(map[string]int)
	for k := range root().leaves() {
		position[k.path] = len(position)
	}
	place := func(err *Error) (layer, line, leaf int) {
		if err.Origin.Kind == FromFile {
			return 0, err.Origin.Line, position[err.Key]
		}
		return 1, 0, position[err.Key]
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		layerA, lineA, leafA := place(a)
		layerB, lineB, leafB := place(b)
		return cmp.Or(cmp.Compare(layerA, layerB), cmp.Compare(lineA, lineB), cmp.Compare(leafA, leafB))
	})
	return e
}
