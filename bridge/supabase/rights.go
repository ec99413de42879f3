package supabase

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/supabase-community/postgrest-go"
	supabasego "github.com/supabase-community/supabase-go"
)

// MaxIDs is the most ids that one question names: at 36 bytes each its address stays below 8 KiB,
// the least that servers commonly take.
const MaxIDs = 100

// VisibleTo asks which of the rows of table whose column key is among ids the holder of token may
// read, as Row Level Security has it: PostgREST is asked with that token, and a row back means yes.
// The answer is the ids as the rows spell them, which may differ from how they were asked for (the
// letters of a UUID, leading zeros), in no order. A single id that the column's type cannot hold is
// an invisible row, not an error. Other failures are an *Error; the caller must then neither allow
// nor remember.
func (c *Client) VisibleTo(ctx context.Context, token, table, key string, ids []string) ([]string, error) {
	client, err := c.clientFor(c.opts.AnonKey, token)
	if err != nil {
		return nil, err
	}
	return c.allOf(ids, func(ids []string) ([]string, bool, error) {
		return c.column(
			ctx,
			client,
			table,
			key,
			func(q *postgrest.FilterBuilder) *postgrest.FilterBuilder { return among(q, key, ids) },
			len(ids),
		)
	})
}

// Member is a row that joins a user with a room: its table, and the columns of the two ids.
type Member struct{ Table, User, Room string }

// RoomsOf asks, with the service key, with which of the rooms a row of the table joins the user; as
// VisibleTo otherwise.
func (c *Client) RoomsOf(ctx context.Context, in Member, user string, rooms []string) ([]string, error) {
	return c.allOf(rooms, func(rooms []string) ([]string, bool, error) {
		return c.column(ctx, c.service, in.Table, in.Room, func(q *postgrest.FilterBuilder) *postgrest.FilterBuilder {
			return among(q.Eq(quoteName(in.User), user), in.Room, rooms)
		}, MaxRows) // a table may say it more than once
	})
}

// allOf asks about ids, and again about those that an answer left out which was cut off: a
// project's max rows may be lower than the number of ids. To take that for a no would withdraw
// rights.
func (c *Client) allOf(ids []string, ask func(ids []string) (found []string, more bool, err error)) ([]string, error) {
	var all []string
	for {
		found, more, err := ask(ids)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
		left := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(found, id) })
		if !more || len(left) == len(ids) || len(left) == 0 {
			return all, nil
		}
		ids = left
	}
}

// column reads one column of the rows that are left by a filter; more reports whether the answer
// was cut off.
func (c *Client) column(
	ctx context.Context, client *supabasego.Client, table, column string,
	where func(*postgrest.FilterBuilder) *postgrest.FilterBuilder, limit int,
) (values []string, more bool, err error) {
	rows, total, err := c.counted(
		ctx,
		where(client.From(table).Select(quoteName(column), "exact", false)).Limit(limit, ""),
	)
	if notOfType(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("supabase: %s of %s: %w", column, table, err)
	}
	values = make([]string, 0, len(rows))
	for _, raw := range rows {
		var row map[string]json.RawMessage
		if err := json.Unmarshal(raw, &row); err != nil {
			return nil, false, fmt.Errorf("supabase: %s of %s: %w", column, table, err)
		}
		if text, ok := scalar(row[column]); ok {
			values = append(values, text)
		}
	}
	return values, total > int64(len(rows)), nil
}

// among has a column equal one of the values.
func among(query *postgrest.FilterBuilder, column string, values []string) *postgrest.FilterBuilder {
	if len(values) == 1 {
		return query.Eq(quoteName(column), values[0])
	}
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = quoteValue(value)
	}
	return query.Filter(quoteName(column), "in", "("+strings.Join(quoted, ",")+")")
}
