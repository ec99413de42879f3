// Package pgtest gives tests a real PostgreSQL with the roles, schemas and rights of a hosted
// Supabase project, and the REST API of one.
//
//	bed := pgtest.Start(t)
//	bed.Owner(`create table notes (id int primary key, owner uuid); alter table notes enable row level security`)
//	rows, err := bed.As("authenticated", pgtest.Claims{"sub": ana}).Query(`select * from notes`)
//	resp, err := http.Get(bed.RESTURL() + "/rest/v1/notes")
//
// All tests of a binary share one cluster, which starts with the first and ends with the binary;
// each has a database of its own. Its programs are Debian's; scripts/prepare postgres installs
// them.
//
// It differs from a hosted project in this:
//
//   - supautils, the extension by which Supabase lets a project's owner manage policies on tables
//     that it does not own, isn't Debian's. Owner does what it does: each CREATE, ALTER or DROP
//     POLICY on realtime.messages is carried out with the rights of that table's owner, and nothing
//     else is. Unlike supautils, it doesn't find such a statement inside of a function or DO block.
//   - Realtime isn't there. MayUse asks row level security what Realtime asks it before it lets a
//     client onto a private channel, and Broadcasts gives what it would have sent.
//   - realtime.messages has one partition for all times, where Realtime makes one a day.
//   - The REST API speaks what the bridge and doctor use of PostgREST's: one table at a time, no
//     embedding, functions by POST.
package pgtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Claims are those of a token.
type Claims map[string]any

// JWTSecret signs the tokens of a bed's project. It is that of local Supabase stacks, and of the
// stand-in.
const JWTSecret = "super-secret-jwt-token-with-at-least-32-characters-long"

// timeout bounds whatever a test asks of the database.
const timeout = time.Minute

// Bed is a project of a test's own. All methods may be called by many goroutines.
type Bed struct {
	t        testing.TB
	cluster  *cluster
	database string
	owner    string
	helped   bool // supautils helps the owner with policies
	rest     func() string
}

// Start gives t a project as Supabase makes them now.
func Start(t testing.TB) *Bed {
	t.Helper()
	return start(t, "postgres", true)
}

// Start2025 gives t a project as Supabase made them until July 2026: its owner is a member of
// supabase_realtime_admin.
func Start2025(t testing.TB) *Bed {
	t.Helper()
	return start(t, "postgres_2025", false)
}

func start(t testing.TB, owner string, helped bool) *Bed {
	t.Helper()
	c, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	b := &Bed{t: t, cluster: c, owner: owner, helped: helped}
	if b.database, err = c.database(ctx, owner); err != nil {
		t.Fatal(err)
	}
	b.rest = sync.OnceValue(b.serve)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if _, err := c.exec(ctx, superuser, "postgres", "drop database "+b.database+" with (force)"); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Address is that of the database, for the project's owner.
func (b *Bed) Address() string { return b.cluster.address(b.owner, b.database) }

// SQL runs statements as the superuser, whom no right binds, and gives what they select as psql -At
// writes it.
func (b *Bed) SQL(text string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	out, err := b.cluster.exec(ctx, superuser, b.database, text)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// Owner runs statements as the project's owner, as psql does that connects to a hosted project, and
// stops at the first that fails. It gives what they select.
func (b *Bed) Owner(text string) string {
	b.t.Helper()
	out, err := b.TryOwner(text)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// TryOwner is Owner, and gives the error. What stood open in a transaction then is undone.
func (b *Bed) TryOwner(text string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if !b.helped {
		return b.cluster.exec(ctx, b.owner, b.database, text)
	}
	conn, err := connect(ctx, b.cluster.address(superuser, b.database))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing was promised that its end could break
	var out []string
	for _, statement := range append([]string{"set session authorization " + b.owner}, split(text)...) {
		lent := policyOnMessages.MatchString(statement)
		if lent {
			if _, err := run(ctx, conn, "reset session authorization"); err != nil {
				return "", err
			}
		}
		got, err := run(ctx, conn, statement)
		if err == nil && lent {
			_, err = run(ctx, conn, "set session authorization "+b.owner)
		}
		if err != nil {
			return "", fmt.Errorf("%w, at: %s", err, statement)
		}
		if got != "" {
			out = append(out, got)
		}
	}
	return strings.Join(out, "\n"), nil
}

// User is somebody with a token, in the database.
type User struct {
	b      *Bed
	role   string
	claims string
}

// As is somebody whose token has a role and claims, which may be nil.
func (b *Bed) As(role string, claims Claims) *User {
	b.t.Helper()
	all := Claims{"role": role}
	maps.Copy(all, claims)
	text, err := json.Marshal(all)
	if err != nil {
		b.t.Fatal(err)
	}
	return &User{b, role, string(text)}
}

// Query runs statements in a transaction with the user's role and claims, as PostgREST does, and
// gives what they select.
func (u *User) Query(text string) (string, error) {
	return u.query("", text)
}

func (u *User) query(before, text string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := connect(ctx, u.b.cluster.address("authenticator", u.b.database))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing was promised that its end could break
	if _, err := run(ctx, conn, "begin; "+u.become()+before); err != nil {
		return "", err
	}
	out, err := run(ctx, conn, text)
	if err != nil {
		return "", err
	}
	_, err = run(ctx, conn, "commit")
	return out, err
}

// become takes on the user's role and claims for a transaction.
func (u *User) become() string {
	return "set local role " + quoteName(u.role) + "; set local request.jwt.claims = " + quoteText(u.claims) + "; "
}

// MayUse reports what Realtime would let the user do on a private channel: hear its broadcasts, and
// broadcast on it. It asks as Realtime does, by a message that is there and by one that the user
// inserts, and keeps neither.
func (u *User) MayUse(topic string) (read, write bool) {
	u.b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := connect(ctx, u.b.cluster.address(superuser, u.b.database))
	if err != nil {
		u.b.t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // all was taken back
	insert := "insert into realtime.messages (topic, extension) values (" + quoteText(topic) + ", 'broadcast')"
	become := u.become() + "set local realtime.topic = " + quoteText(topic) + "; "
	count, err := run(
		ctx,
		conn,
		"begin; "+insert+"; "+become+"select count(*) from realtime.messages where topic = "+quoteText(topic)+"; ",
	)
	if err != nil {
		u.b.t.Fatal(err)
	}
	_, err = run(ctx, conn, insert)
	if failed := (*pgconn.PgError)(nil); err != nil && (!errors.As(err, &failed) || failed.Code != "42501") {
		u.b.t.Fatal(err)
	}
	write = err == nil
	if _, err := run(ctx, conn, "rollback"); err != nil {
		u.b.t.Fatal(err)
	}
	return count != "0", write
}

// Broadcast is a message that the database gave Realtime to send.
type Broadcast struct {
	Topic, Event string
	Private      bool
	Payload      json.RawMessage
}

// Broadcasts gives all there were so far, in the order they were made.
func (b *Bed) Broadcasts() []Broadcast {
	b.t.Helper()
	text := b.SQL(
		`select coalesce(json_agg(json_build_object('Topic', topic, 'Event', event, 'Private', private, 'Payload', payload)
		order by ctid), '[]') from realtime.messages_all where extension = 'broadcast'`,
	)
	var list []Broadcast
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		b.t.Fatal(err)
	}
	return list
}

// Token signs a token for a role, which is good for an hour where the claims say nothing else.
func (b *Bed) Token(role string, claims Claims) string {
	b.t.Helper()
	all := jwt.MapClaims{"role": role, "aud": role, "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte(JWTSecret))
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

// ServiceKey is the project's service_role key.
func (b *Bed) ServiceKey() string { return b.Token("service_role", nil) }

// AnonKey is the project's anon key.
func (b *Bed) AnonKey() string { return b.Token("anon", nil) }

func connect(ctx context.Context, address string) (*pgx.Conn, error) {
	options, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, options)
}

// run carries statements out in one go, and gives what they select as psql -At writes it.
func run(ctx context.Context, conn *pgx.Conn, text string) (string, error) {
	results, err := conn.PgConn().Exec(ctx, text).ReadAll()
	if err != nil {
		return "", err
	}
	var lines []string
	for _, result := range results {
		for _, row := range result.Rows {
			columns := make([]string, len(row))
			for i, value := range row {
				columns[i] = string(value)
			}
			lines = append(lines, strings.Join(columns, "|"))
		}
	}
	return strings.Join(lines, "\n"), nil
}

// quoteName quotes an identifier.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoteText quotes a string, whatever standard_conforming_strings says.
func quoteText(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}
