package phxserver

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Claims is what a verified token says about its bearer.
type Claims struct {
	// Role is the database role: anon, authenticated, service_role or another.
	Role string
	// Subject is the user's id, empty when the token names none.
	Subject string
	// Expires is the instant from which the token is no longer accepted.
	Expires time.Time
	// Raw holds every claim, as decoded from JSON.
	Raw map[string]any
}

// Backend is the project behind a Server: its keys, its tokens, its policies and
// its tables. The Server calls it from many goroutines at once.
type Backend interface {
	// Connect decides on the handshake of a socket. An error of type *RefusedError
	// is answered as it says, any other as status 500.
	Connect(ctx context.Context, h Handshake) (Claims, error)

	// Verify checks a channel's token, or the token of a REST broadcast. An error
	// of type *TokenError is told to the client in its words, any other as a
	// token that is not a JWT.
	Verify(ctx context.Context, token string) (Claims, error)

	// Authorize says what the bearer may do on a private channel; topic comes
	// without the prefix "realtime:". An error is told to the client as text.
	Authorize(ctx context.Context, c Claims, topic string) (Access, error)

	// Tables lists the published tables whose schema and name match the patterns,
	// in a stable order; "*" matches everything. An error is what the database
	// would raise on the bearer's behalf, such as an unknown role; its text is
	// told to the client.
	Tables(ctx context.Context, c Claims, schema, name string) ([]Table, error)

	// Watch calls fn once for each committed transaction, in commit order and one at
	// a time, with all its rows, until cancel is called. fn doesn't wait for anything
	// but may ask Visible; it keeps what it gets.
	Watch(fn func([]Change)) (cancel func())

	// Visible says whether the bearer may read a row of a table that has row level
	// security, as the row is now; one that is gone is visible to nobody. row is the
	// row as the change left it, of which the key counts.
	Visible(c Claims, schema, table string, row map[string]json.RawMessage) bool
}

// Handshake is what a client presents when it opens a socket.
type Handshake struct {
	// Host is the request's host; its first label names the project.
	Host string
	// APIKey comes from the header x-api-key, else from the query; empty when absent.
	APIKey string
	// Header is the request's header.
	Header http.Header
}

// Access is what the policies of a private channel allow one bearer.
type Access struct {
	ReadBroadcast, WriteBroadcast bool
	ReadPresence, WritePresence   bool
}

// Column is a column as changes name it.
type Column struct {
	Name string
	// Type is the name in pg_type: int8, text, _int4 for an array.
	Type string
}

// Table is a table of the publication.
type Table struct {
	Schema, Name string
	// Columns are in table order; of Backend.Tables, those that the bearer may read.
	Columns []Column
	// Restricted says that Columns leaves some out, as the bearer may not read them. Who
	// may not read the whole key is told of a row that there is one, and an error.
	Restricted bool
	// Key names the columns of the primary key; changes of a table without one
	// tell that and nothing else.
	Key []string
}

// Change is a row of a committed transaction.
type Change struct {
	// Type is INSERT, UPDATE, DELETE or TRUNCATE; the last is never told to clients.
	Type string
	// Table is the table as it was at the commit.
	Table Table
	// Commit is the instant of the transaction's commit.
	Commit time.Time
	// New and Old are the whole row after and before, nil where there is none.
	// Values are JSON as PostgREST prints them. They must not be changed any more.
	New, Old map[string]json.RawMessage
	// FullIdentity is replica identity full: old_record carries the whole row.
	FullIdentity bool
	// RLS is row level security: reads go by Backend.Visible.
	RLS bool
}

// RefusedError refuses a handshake.
type RefusedError struct {
	// Status is the HTTP status: 401, 403, 404, 429, 500.
	Status int
	// Message is told to the client.
	Message string
}

func (e *RefusedError) Error() string { return e.Message }

// TokenError says why a token isn't accepted.
type TokenError struct {
	// Code is the code of a refused join: InvalidJWTToken, MalformedJWT, JwtSignatureError.
	Code string
	// Message is the text of a refused join and of the handshake's answer.
	Message string
	// Pushed is the text for a token pushed to a joined channel, where it differs.
	Pushed string
}

func (e *TokenError) Error() string { return e.Message }
