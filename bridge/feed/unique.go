package feed

import (
	"encoding/json"
	"errors"
)

// errAmbiguous: the key that the table is said to have is not unique.
var errAmbiguous = errors.New("feed: two rows have the same key")

// ambiguous reports whether two rows of one answer, which PostgreSQL gives of one moment, have the
// same key. Nothing of such an answer is passed on.
func (f *Feed) ambiguous(t *tableFeed, rows []json.RawMessage) bool {
	seen := make(map[string]struct{}, len(rows))
	for _, record := range rows {
		key := parse(record).Text(t.Key)
		if _, twice := seen[key]; twice && key != "" {
			f.opts.Sink.NotUnique(t.Name, key)
			return true
		}
		seen[key] = struct{}{}
	}
	return false
}
