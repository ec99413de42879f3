package supabase

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
)

// RowsByKey reads the rows of a table whose key is among ids, with the service key, in no order.
// Ids that the key's type can't hold name no row. It asks again for those that the project's max
// rows has cut off.
func (c *Client) RowsByKey(ctx context.Context, table, key string, ids []string) ([]json.RawMessage, error) {
	var all []json.RawMessage
	for _, alike := range byShape(ids) { // one id of another type would have the whole question refused
		for part := range slices.Chunk(alike, MaxIDs) {
			rows, err := c.rowsByKey(ctx, table, key, part)
			if err != nil {
				return nil, fmt.Errorf("supabase: rows of %s by %s: %w", table, key, err)
			}
			all = append(all, rows...)
		}
	}
	return all, nil
}

func (c *Client) rowsByKey(ctx context.Context, table, key string, ids []string) (all []json.RawMessage, err error) {
	for len(ids) > 0 {
		query := among(c.service.From(table).Select("*", "exact", false), key, ids).Limit(len(ids), "")
		rows, total, err := c.counted(ctx, query)
		if notOfType(err) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		left := len(ids)
		for _, record := range rows {
			r, err := row.Parse(record)
			if err != nil {
				return nil, err
			}
			ids = without(ids, r.Text(key))
		}
		all = append(all, rows...)
		if total <= int64(len(rows)) || len(ids) == left {
			break
		}
	}
	return all, nil
}

// without gives the ids but one.
func without(ids []string, id string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(other string) bool { return other == id })
}

// byShape puts ids together that may be of one type: UUIDs, whole numbers, and all others.
func byShape(ids []string) [][]string {
	shapes := make([][]string, 3)
	for _, id := range ids {
		shape := 2
		switch {
		case len(id) == 36 && strings.Count(id, "-") == 4:
			shape = 0
		case strings.Trim(id, "0123456789") == "":
			shape = 1
		}
		shapes[shape] = append(shapes[shape], id)
	}
	return shapes
}
