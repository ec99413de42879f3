package supabase

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/supabase-community/postgrest-go"
)

// MaxRows is the most rows asked for at once. It is Supabase's default for "max rows", the bound of
// one answer. A project may set a lower one, and no answer says so.
const MaxRows = 1000

// Page asks for rows of a table in the order of a cursor column, with the key as tie-break. Values
// are the exact texts that PostgREST gave for the last row: a time formatted anew would repeat rows
// or skip some. Rows without a value in Column are not on any page.
type Page struct {
	Table, Column, Key string
	// From is the least value of the first page, included. Required but for later pages.
	From string
	// AfterValue and AfterKey name the last row of the page before; then From is not looked at.
	AfterValue, AfterKey string
	// WhereNull names a column that must be null, so that rows which were never updated can be read by
	// their creation. Empty: any.
	WhereNull string
	// Where names a column that must equal Equals; empty: any.
	Where, Equals string
	// Limit is the most rows wanted, at most MaxRows; 0 means MaxRows.
	Limit int
}

// Rows reads a page with the service key: at most Limit rows, each as PostgREST wrote it. more
// reports whether there may be rows after them, for the next page. A short page does not mean that
// there are none: the project's max rows may be lower than Limit, and a project may lower it at any
// time. So the first page comes with the count of all rows, and the pages after it go on until one
// is empty. Needs an index on (Column, Key) to be cheap.
func (c *Client) Rows(ctx context.Context, p Page) (rows []json.RawMessage, more bool, err error) {
	if p.Limit <= 0 || p.Limit > MaxRows {
		p.Limit = MaxRows
	}
	column, key := quoteName(p.Column), quoteName(p.Key)
	count := "exact"
	if p.AfterKey != "" {
		count = "" // to count what is left on every page would be quadratic
	}
	query := c.service.From(p.Table).Select("*", count, false)
	switch {
	case p.AfterKey != "":
		after := quoteValue(p.AfterValue)
		query = query.Or(
			fmt.Sprintf("%s.gt.%s,and(%s.eq.%s,%s.gt.%s)", column, after, column, after, key, quoteValue(p.AfterKey)),
			"",
		)
	case p.From != "":
		query = query.Gte(column, p.From)
	default:
		return nil, false, fmt.Errorf("supabase: rows of %s by %s: from where on?", p.Table, p.Column)
	}
	if p.WhereNull != "" {
		query = query.Is(quoteName(p.WhereNull), "null")
	}
	if p.Where != "" {
		query = query.Eq(quoteName(p.Where), p.Equals)
	}
	ascending := &postgrest.OrderOpts{Ascending: true}
	rows, total, err := c.counted(ctx, query.Order(column, ascending).Order(key, ascending).Limit(p.Limit, ""))
	if err != nil {
		return nil, false, fmt.Errorf("supabase: rows of %s by %s: %w", p.Table, p.Column, err)
	}
	return rows, len(rows) > 0 && int64(len(rows)) != total, nil
}

// Newest reads, with the service key, the greatest value of p.Column that the database's clock has
// reached; "" where there is none. PostgreSQL reads "now" as the time of the transaction, so that
// its own clock decides: a row that is dated ahead is passed over, and so is infinity. Of p, Table,
// Column and WhereNull count. The bound lets an ascending index be read backwards.
func (c *Client) Newest(ctx context.Context, p Page) (string, error) {
	column := quoteName(p.Column)
	query := c.service.From(p.Table).Select(column, "", false).Lte(column, "now")
	if p.WhereNull != "" {
		query = query.Is(quoteName(p.WhereNull), "null")
	}
	query = query.Order(column, &postgrest.OrderOpts{NullsFirst: true}).Limit(1, "")
	rows, err := c.rows(ctx, query)
	if err != nil {
		return "", fmt.Errorf("supabase: newest %s of %s: %w", p.Column, p.Table, err)
	}
	if len(rows) == 0 {
		return "", nil
	}
	var row map[string]json.RawMessage
	if err := json.Unmarshal(rows[0], &row); err != nil {
		return "", fmt.Errorf("supabase: newest %s of %s: %w", p.Column, p.Table, err)
	}
	value, _ := scalar(row[p.Column])
	return value, nil
}

// Row reads one row by its key with the service key; found is false where there is none.
func (c *Client) Row(ctx context.Context, table, key, id string) (row json.RawMessage, found bool, err error) {
	rows, err := c.rows(ctx, c.service.From(table).Select("*", "", false).Eq(quoteName(key), id).Limit(1, ""))
	if notOfType(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("supabase: row of %s: %w", table, err)
	}
	if len(rows) == 0 {
		return nil, false, nil
	}
	return rows[0], true, nil
}

// rows carries out a query and keeps each row as it was written.
func (c *Client) rows(ctx context.Context, query *postgrest.FilterBuilder) ([]json.RawMessage, error) {
	rows, _, err := c.counted(ctx, query)
	return rows, err
}

// counted is rows with the count of all rows that fit the query; 0 where the query does not ask for
// it or the answer does not say.
func (c *Client) counted(
	ctx context.Context, query *postgrest.FilterBuilder,
) (rows []json.RawMessage, total int64, err error) {
	ctx, cancel := context.WithTimeout(withFence(ctx, c.fence), c.opts.Timeout)
	defer cancel()
	body, total, err := query.ExecuteWithContext(ctx)
	if err != nil {
		return nil, 0, classify(err)
	}
	if err := json.Unmarshal(body, &rows); err != nil {
		return nil, 0, &Error{
			Status:  http.StatusOK,
			Message: "the answer is not a list of rows",
			Class:   ClassPermanent,
			err:     err,
		}
	}
	return rows, total, nil
}

// quoteValue quotes a value within an or-tree, where commas, dots and parentheses would otherwise
// have a meaning.
func quoteValue(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}
