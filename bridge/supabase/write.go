package supabase

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/supabase-community/postgrest-go"
)

// Insert writes a row with the service key and gives it back as it was stored. With unique, a
// column, a row that has the same value there already is left as it is, and stored is nil: the same
// call may be repeated after a failure, and the row is there once.
func (c *Client) Insert(ctx context.Context, table string, row any, unique string) (stored json.RawMessage, err error) {
	if unique != "" {
		ctx = context.WithValue(ctx, ignoreKey{}, true)
	}
	rows, err := c.rows(ctx, c.service.From(table).Insert(row, unique != "", quoteName(unique), "representation", ""))
	if err != nil {
		return nil, fmt.Errorf("supabase: insert into %s: %w", table, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return rows[0], nil
}

// InsertAs inserts a row with the rights of the holder of token, and gives it back as it was
// stored, as far as that user may read it: whoever may write but not read is refused by PostgREST.
// A call that failed without an answer may have written the row.
func (c *Client) InsertAs(ctx context.Context, token, table string, row any) (stored json.RawMessage, err error) {
	client, err := c.clientFor(c.opts.AnonKey, token)
	if err != nil {
		return nil, err
	}
	rows, err := c.rows(ctx, client.From(table).Insert(row, false, "", "representation", ""))
	if err == nil && len(rows) != 1 {
		err = &Error{Status: http.StatusOK, Message: "the answer is not one row", Class: ClassPermanent}
	}
	if err != nil {
		return nil, fmt.Errorf("supabase: insert into %s: %w", table, err)
	}
	return rows[0], nil
}

// Update changes, with the service key, the rows whose columns equal where and that fit or, a list
// of alternatives in PostgREST's grammar made with Any; "" is none. It gives the rows as they are
// then. The conditions are part of the statement: of two updates at once the second one sees what
// the first one wrote.
func (c *Client) Update(
	ctx context.Context,
	table string,
	where map[string]string,
	or string,
	change any,
) ([]json.RawMessage, error) {
	query := equal(c.service.From(table).Update(change, "representation", ""), where)
	if or != "" {
		query = query.Or(or, "")
	}
	rows, err := c.rows(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("supabase: update %s: %w", table, err)
	}
	return rows, nil
}

// NullOrNotIn is an alternative for Update: the column is null, or none of the values. It needs one
// at least.
func NullOrNotIn(column string, values []string) string {
	name := quoteName(column)
	var list []byte
	for i, value := range values {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, quoteValue(value)...)
	}
	return name + ".is.null," + name + ".not.in.(" + string(list) + ")"
}

// First reads one column of the first row, by that column, whose columns equal where, with the
// service key; found is false where there is none.
func (c *Client) First(
	ctx context.Context,
	table, column string,
	where map[string]string,
) (value json.RawMessage, found bool, err error) {
	query := equal(c.service.From(table).Select(quoteName(column), "", false), where)
	rows, err := c.rows(ctx, query.Order(quoteName(column), &postgrest.OrderOpts{Ascending: true}).Limit(1, ""))
	if err == nil && len(rows) > 0 {
		var row map[string]json.RawMessage
		if err = json.Unmarshal(rows[0], &row); err == nil {
			return row[column], true, nil
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("supabase: %s of %s: %w", column, table, err)
	}
	return nil, false, nil
}

// equal adds conditions, in the order of their names.
func equal(query *postgrest.FilterBuilder, where map[string]string) *postgrest.FilterBuilder {
	for _, column := range slices.Sorted(maps.Keys(where)) {
		query = query.Eq(quoteName(column), where[column])
	}
	return query
}

// Call calls a function of the database with the service key and gives its answer, JSON without
// space around it. The library's own call takes no context and gives failures as text, so the
// request is made here; it goes through the same fence.
func (c *Client) Call(ctx context.Context, function string, arguments any) (json.RawMessage, error) {
	answer, err := c.call(ctx, function, arguments)
	if err != nil {
		return nil, fmt.Errorf("supabase: call %s: %w", function, classify(err))
	}
	return answer, nil
}

func (c *Client) call(ctx context.Context, function string, arguments any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	body, err := json.Marshal(arguments)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		c.url+"/rest/v1/rpc/"+url.PathEscape(function),
		bytes.NewReader(body),
	)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{
		"Apikey": {
			c.key,
		}, "Authorization": {"Bearer " + c.key}, "Content-Type": {"application/json"}, "Accept": {"application/json"},
		"Accept-Profile": {c.opts.Schema}, "Content-Profile": {c.opts.Schema},
	}
	resp, err := c.fence.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // the fence has read it
	answer := new(bytes.Buffer)
	if _, err := answer.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	text := bytes.TrimSpace(answer.Bytes())
	if len(text) == 0 {
		return json.RawMessage("null"), nil // of a function that returns void
	}
	if !json.Valid(text) {
		return nil, &Error{Status: resp.StatusCode, Message: "the answer is no JSON", Class: ClassPermanent}
	}
	return text, nil
}
