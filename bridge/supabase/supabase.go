// Package supabase is the REST side of Supabase as the bridge needs it: a few reads and writes
// through PostgREST, each with a context, a credential of its own and a typed error.
//
//	db, err := supabase.New("https://ref.supabase.co", serviceRoleKey, supabase.Options{AnonKey: anonKey})
//	visible, err := db.VisibleTo(ctx, userToken, "conversations", "id", ids)
//
// Requests are built by supabase-go (its REST half is postgrest-go, held at v0.0.12, the first
// version that takes a context). What that library does badly is kept out by a fence (see
// fence.go): it would send credentials along on a redirect, reads answers without a limit, and
// turns every failure into a string without its status. Three rules keep its remaining traps shut:
// a client serves one credential and is never shared between users, no query filters one column
// twice, and Not and Rpc are not used.
//
// The package starts no goroutine besides those of net/http's connection pool, which Close empties.
package supabase

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	supabasego "github.com/supabase-community/supabase-go"
)

// Defaults of Options.
const (
	// DefaultTimeout bounds a request that no nearer deadline of its context ends.
	DefaultTimeout = 10 * time.Second
	// DefaultMaxResponse bounds an answer, in bytes. PostgREST behind Supabase caps an answer at 1,000
	// rows, not at a size.
	DefaultMaxResponse = 8 << 20
)

// Options of a Client; the zero value is usable.
type Options struct {
	// AnonKey is sent as `apikey` beside a user's token: it lets a request through the API gateway and gives no rights beyond the token's.
	// Empty: the service key is sent there; the token in Authorization still decides the role.
	AnonKey string
	// Schema holds the tables; empty means public.
	Schema string
	// Timeout bounds one request; 0 means DefaultTimeout.
	Timeout time.Duration
	// MaxResponse bounds the bytes read of one answer; 0 means DefaultMaxResponse. A longer answer is
	// an error of ClassPermanent.
	MaxResponse int64
	// Answered, if set, learns of each request: its HTTP status, 0 where no answer came, and how long
	// that took. It is called by many goroutines.
	Answered func(status int, took time.Duration)
	// Transport carries the requests; nil means a pool of its own.
	Transport http.RoundTripper
}

// Client reads from and writes to one Supabase project. It is safe for concurrent use.
type Client struct {
	url     string // with the fenced scheme
	key     string // the service key
	opts    Options
	service *supabasego.Client
	fence   *fence
}

// New makes a client for the project at rawURL (https://ref.supabase.co, or http://127.0.0.1:54321
// for a local one) that acts with key, a service-role JWT or an sb_secret_… key, wherever no user's
// token is named. It sends nothing yet.
func New(rawURL, key string, opts Options) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(rawURL, "/"))
	if err != nil {
		return nil, fmt.Errorf("supabase: project URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("supabase: project URL %q: want http(s)://host", u.Redacted())
	}
	if key == "" {
		return nil, fmt.Errorf("supabase: no service role key")
	}
	if opts.Schema == "" {
		opts.Schema = "public"
	}
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.MaxResponse == 0 {
		opts.MaxResponse = DefaultMaxResponse
	}
	if err := raiseFence(); err != nil {
		return nil, err
	}
	if opts.AnonKey == "" {
		opts.AnonKey = key
	}
	u.Scheme = fencedScheme + u.Scheme
	c := &Client{url: u.String(), key: key, opts: opts, fence: newFence(opts)}
	if c.service, err = c.clientFor(key, key); err != nil {
		return nil, err
	}
	return c, nil
}

// Close gives up the client's idle connections. Requests under way go on.
func (c *Client) Close() { c.fence.close() }

// clientFor makes the library's client for one credential. It is cheap (a few small structs) and
// thrown away after use, so that no user's token can ride on another user's request.
func (c *Client) clientFor(apikey, token string) (*supabasego.Client, error) {
	client, err := supabasego.NewClient(c.url, apikey, &supabasego.ClientOptions{
		Schema:  c.opts.Schema,
		Headers: map[string]string{"Authorization": "Bearer " + token},
	})
	if err != nil {
		return nil, fmt.Errorf("supabase: client: %w", err)
	}
	return client, nil
}

// Pair is a key of a row and the text of one of its columns, "" where that is null.
type Pair struct{ Key, Value string }

// Values reads one column of the rows of table whose column key is among ids, with the service key,
// in no order: the key as the row spells it, and the text of the JSON value with the quotes of a
// string taken off. A single id that the column's type cannot hold is a row that isn't there, not
// an error. It names at most MaxIDs ids.
func (c *Client) Values(ctx context.Context, table, column, key string, ids []string) ([]Pair, error) {
	columns := quoteName(key)
	if column != key {
		columns += "," + quoteName(column)
	}
	query := among(c.service.From(table).Select(columns, "", false), key, ids)
	rows, err := c.rows(ctx, query.Limit(len(ids), ""))
	if notOfType(err) && len(ids) == 1 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("supabase: %s of %s: %w", column, table, err)
	}
	pairs := make([]Pair, 0, len(rows))
	for _, raw := range rows {
		var row map[string]json.RawMessage
		if err := json.Unmarshal(raw, &row); err != nil {
			return nil, fmt.Errorf("supabase: %s of %s: %w", column, table, err)
		}
		id, _ := scalar(row[key])
		value, _ := scalar(row[column])
		pairs = append(pairs, Pair{id, value})
	}
	return pairs, nil
}

// scalar gives the text of a JSON string, number or boolean; ok is false for null and for anything
// composed.
func scalar(raw json.RawMessage) (text string, ok bool) {
	if len(raw) == 0 {
		return "", false
	}
	switch raw[0] {
	case '"':
		err := json.Unmarshal(raw, &text)
		return text, err == nil
	case 'n', '{', '[':
		return "", false
	default:
		return string(raw), true
	}
}

// quoteName quotes a column name for a select list or a filter where PostgREST's grammar needs it,
// as "from" in Prisma's camelCase tables.
func quoteName(name string) string {
	for i := 0; i < len(name); i++ {
		switch ch := name[i]; {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', ch == '_':
		default:
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
		}
	}
	return name
}
