package vocabulary

import (
	"encoding/json"
	"slices"

	"github.com/supabridge/supabridge/bridge/row"
)

// A row may be larger than what a browser takes: what waits for it is bounded, and shapes repeat
// what is in a row. So two bounds hold. A row of more than Options.MaxRow bytes goes without its
// largest columns. And a value of more than largeValue bytes stands in an event once, whatever the
// shape: under the column's own name.
//
// An object that lacks something for this has a field _truncated: the names that are missing in it,
// as they would be spelled there. A frontend that needs them reads the row itself.

// truncated is the name of that field.
const truncated = "_truncated"

// DefaultMaxRow is what a row may have by default, in bytes.
const DefaultMaxRow = 256 << 10

const (
	largeValue = 16 << 10 // bytes of a value that is not repeated
	smallValue = 1 << 10  // bytes of a value that is never left out: keys, times and the like
)

// fit leaves the largest columns out of the row of an occasion, once, so that the rest has at most
// max bytes.
func (o *Occasion) fit(max int) {
	if o.fits || len(o.Row.Record) <= max {
		return
	}
	o.fits = true
	bySize := make([]int, 0, len(o.Row.Columns))
	for i, c := range o.Row.Columns {
		if len(c.Value) > smallValue {
			bySize = append(bySize, i)
		}
	}
	slices.SortStableFunc(bySize, func(a, b int) int {
		return len(o.Row.Columns[b].Value) - len(o.Row.Columns[a].Value)
	})
	left := make(map[int]bool)
	for size := len(o.Row.Record); size > max && len(bySize) > 0; bySize = bySize[1:] {
		left[bySize[0]] = true
		size -= len(o.Row.Columns[bySize[0]].Value)
	}
	kept := row.Row{Columns: make([]row.Column, 0, len(o.Row.Columns))}
	var whole object
	for i, c := range o.Row.Columns {
		if left[i] {
			o.left = append(o.left, c.Name)
			continue
		}
		kept.Columns = append(kept.Columns, c)
		whole.add(c.Name, c.Value)
	}
	whole.left = o.left
	kept.Record = whole.bytes()
	o.Row = kept
}

// nameList writes a list of names.
func nameList(list []string) json.RawMessage {
	b := []byte{'['}
	for i, name := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, name)
	}
	return append(b, ']')
}
