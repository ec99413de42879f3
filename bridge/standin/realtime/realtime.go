package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/bridge/standin/sql"
	"github.com/supabridge/supabridge/bridge/standin/tokens"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// Options adjust the stand-in's Realtime. The zero options are a server that
// doesn't let anybody wait, limits nothing and, as a fresh project does, lets only
// service_role onto private channels.
type Options struct {
	phxserver.Options
	// Policies open private channels to other roles than service_role.
	Policies []TopicPolicy
}

// TopicPolicy is a policy on realtime.messages: who may do what on which private
// channels. Rights add up over all policies that fit.
type TopicPolicy struct {
	// Role is the role it is for; empty is every role.
	Role string
	// Topic is the sub-topic as SQL's LIKE takes it: % stands for any text, _ for any
	// one character. {claim} stands for the text of that claim of the bearer's token,
	// {a.b} for one inside another.
	Topic string
	// Extension is broadcast or presence; empty is both.
	Extension string
	// Read and Write are SELECT and INSERT.
	Read, Write bool
}

// Realtime is the project's side of the Realtime server: its keys, policies and tables.
// It is immutable but for the server and what is atomic.
type Realtime struct {
	db     *sql.DB
	tokens *tokens.Tokens
	opts   Options
	server *phxserver.Server
	cancel func()               // ends the triggers' broadcasts
	asked  atomic.Uint64        // questions to row level security
	topics map[tableName]string // of the triggers of tables that have one
	// lane is the topic of supabridge's triggers, "" without them; unguarded: its policy is gone.
	lane      string
	unguarded atomic.Bool
}

// tableName is a table's name with its schema.
type tableName struct{ schema, name string }

// New starts a Realtime server for the tables of db. The caller closes it.
func New(db *sql.DB, tokens *tokens.Tokens, opts Options) *Realtime {
	rt := &Realtime{db: db, tokens: tokens, opts: opts, topics: make(map[tableName]string)}
	for _, info := range db.Tables() {
		if t, _ := db.Describe(info.Schema, info.Name); t.Broadcast != "" {
			rt.topics[tableName{info.Schema, info.Name}] = t.Broadcast
			if rt.lane == "" && strings.HasPrefix(t.Broadcast, lanePrefix) {
				rt.lane = t.Broadcast
			}
		}
	}
	rt.server = phxserver.NewServer(rt, opts.Options)
	rt.cancel = db.OnChange(rt.broadcastChanges)
	return rt
}

// Server is the server of sockets, for what SQL would do there (Send) and for faults (Inject).
func (rt *Realtime) Server() *phxserver.Server { return rt.server }

// Asked is how often row level security was asked whether a subscriber may read a changed row.
func (rt *Realtime) Asked() uint64 { return rt.asked.Load() }

// lanePrefix begins the topics of supabridge's triggers.
const lanePrefix = "supabridge:lane"

// Lane is the topic that the triggers of supabridge's migration broadcast on; "" where no table has
// one.
func (rt *Realtime) Lane() string { return rt.lane }

// SetLaneGuard takes away the policy that keeps everybody but service_role off the topics of
// supabridge's triggers, or brings it back. It is there at first if a table has such a topic.
// Without it Options.Policies alone count.
func (rt *Realtime) SetLaneGuard(there bool) { rt.unguarded.Store(!there) }

// LaneGuard reports whether that policy is there.
func (rt *Realtime) LaneGuard() bool { return !rt.unguarded.Load() }

// guards reports whether that policy keeps a topic from all but service_role.
func (rt *Realtime) guards(topic string) bool {
	return rt.lane != "" && strings.HasPrefix(topic, lanePrefix) && rt.LaneGuard()
}

// Mount puts Realtime where Supabase's gateway has it, and where its own server has it.
func (rt *Realtime) Mount(mux *http.ServeMux) {
	for _, prefix := range []string{"/realtime/v1", ""} {
		socket := "/socket/websocket"
		if prefix != "" {
			socket = "/websocket"
		}
		mux.Handle(prefix+socket, rt.server)
		for _, nowhere := range []string{"/socket", "/socket/"} {
			mux.HandleFunc(prefix+nowhere, func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "Not Found", http.StatusNotFound)
			})
		}
		mux.Handle(prefix+"/api/broadcast", rt.server.BroadcastHandler())
		mux.Handle(prefix+"/api/broadcast/", rt.server.BroadcastHandler())
		mux.HandleFunc("GET "+prefix+"/api/ping", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = w.Write([]byte(`{"message":"Success"}`)) // the client may be gone
		})
		mux.HandleFunc("GET "+prefix+"/api/tenants/{tenant}/health", rt.health)
	}
	mux.HandleFunc("GET /healthcheck", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok")) // the client may be gone
	})
}

// health answers what the compose file of a self-hosted Supabase asks before it takes
// Realtime for started.
func (rt *Realtime) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, err := rt.Verify(r.Context(), token); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	// In the order in which the real one tells it; a database in memory is connected.
	fmt.Fprintf(
		w,
		`{"data":{"node":"realtime@127.0.0.1","region":"us-east-1","replication_connected":true,"healthy":true,"db_connected":true,"connected_cluster":%d}}`,
		rt.server.Connected(),
	)
}

// Close ends every socket, as a server that restarts does.
func (rt *Realtime) Close(ctx context.Context) error {
	rt.cancel()
	return rt.server.Close(ctx)
}

// Connect admits whoever has a key of the project, or a token it has signed.
func (rt *Realtime) Connect(_ context.Context, h phxserver.Handshake) (sql.Claims, error) {
	if h.APIKey == "" {
		return sql.Claims{}, &phxserver.RefusedError{Status: http.StatusUnauthorized, Message: "API key is missing"}
	}
	c, err := rt.tokens.Verify(rt.tokens.Exchange(h.APIKey), time.Now())
	if err == nil {
		return c, nil
	}
	text := err.Error()
	if errors.Is(err, tokens.ErrTokenExpired) {
		text = tokens.ErrTokenExpired.Error() // without saying since when
	}
	return c, &phxserver.RefusedError{Status: http.StatusUnauthorized, Message: text}
}

// Verify checks a channel's token.
func (rt *Realtime) Verify(_ context.Context, token string) (sql.Claims, error) {
	c, err := rt.tokens.Verify(rt.tokens.Exchange(token), time.Now())
	if err == nil {
		return c, nil
	}
	refused := &phxserver.TokenError{Code: "InvalidJWTToken", Message: err.Error()}
	switch {
	case errors.Is(err, tokens.ErrTokenMalformed):
		refused.Code = "MalformedJWT"
	case errors.Is(err, tokens.ErrTokenSigner):
		refused.Code = "JwtSignerError"
	case errors.Is(err, tokens.ErrTokenSignature):
		refused.Code, refused.Pushed = "JwtSignatureError", ":signature_error"
	}
	return c, refused
}

// Authorize adds up the policies that fit.
func (rt *Realtime) Authorize(_ context.Context, c sql.Claims, topic string) (phxserver.Access, error) {
	if c.Role == sql.RoleService {
		return phxserver.Access{ReadBroadcast: true, WriteBroadcast: true, ReadPresence: true, WritePresence: true}, nil
	}
	if rt.guards(topic) {
		return phxserver.Access{}, nil
	}
	var a phxserver.Access
	for _, p := range rt.opts.Policies {
		if p.Role != "" && p.Role != c.Role || !p.fits(c, topic) {
			continue
		}
		if p.Extension != "presence" {
			a.ReadBroadcast = a.ReadBroadcast || p.Read
			a.WriteBroadcast = a.WriteBroadcast || p.Write
		}
		if p.Extension != "broadcast" {
			a.ReadPresence = a.ReadPresence || p.Read
			a.WritePresence = a.WritePresence || p.Write
		}
	}
	return a, nil
}

// fits tests a topic against the policy's pattern. A pattern with a claim that the
// bearer lacks fits nothing.
func (p TopicPolicy) fits(c sql.Claims, topic string) bool {
	var pattern strings.Builder
	rest := p.Topic
	for {
		before, after, found := strings.Cut(rest, "{")
		pattern.WriteString(before)
		if !found {
			break
		}
		path, tail, closed := strings.Cut(after, "}")
		text, ok := sql.ClaimText(c.Raw, strings.Split(path, "."))
		if !closed || !ok {
			return false
		}
		pattern.WriteString(likeLiteral.Replace(text))
		rest = tail
	}
	return sql.Like(pattern.String(), topic)
}

var likeLiteral = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

// Tables lists published tables; the patterns are compared as LIKE compares, and "*"
// fits everything.
func (rt *Realtime) Tables(_ context.Context, c sql.Claims, schema, name string) ([]phxserver.Table, error) {
	if !sql.KnownRole(c.Role) {
		return nil, errors.New(`ERROR 42704 (undefined_object) role "` + c.Role + `" does not exist`)
	}
	var tables []phxserver.Table
	for _, t := range rt.db.Tables() {
		if t.Published && (schema == "*" || sql.Like(schema, t.Schema)) && (name == "*" || sql.Like(name, t.Name)) {
			columns, restricted := rt.db.Readable(c.Role, t.Schema, t.Name)
			tables = append(
				tables,
				phxserver.Table{
					Schema:     t.Schema,
					Name:       t.Name,
					Columns:    changeColumns(columns),
					Key:        t.Key,
					Restricted: restricted,
				},
			)
		}
	}
	return tables, nil
}

func changeColumns(columns []sql.Column) []phxserver.Column {
	out := make([]phxserver.Column, len(columns))
	for i, c := range columns {
		out[i] = phxserver.Column(c)
	}
	return out
}

// Watch passes on the changes of published tables.
func (rt *Realtime) Watch(fn func([]phxserver.Change)) (cancel func()) {
	return rt.db.OnChange(func(changes []sql.Change) {
		told := make([]phxserver.Change, 0, len(changes))
		for _, c := range changes {
			if !c.Published {
				continue
			}
			told = append(told, phxserver.Change{
				Type:   c.Type,
				Table:  phxserver.Table{Schema: c.Schema, Name: c.Table, Columns: changeColumns(c.Columns), Key: c.Key},
				Commit: c.Commit, New: c.New, Old: c.Old, FullIdentity: c.FullIdentity, RLS: c.RLS,
			})
		}
		if len(told) > 0 {
			fn(told)
		}
	})
}

// Visible asks the table's row level security, which sees the row as it is now: of a
// row that is gone already nothing is told.
func (rt *Realtime) Visible(c sql.Claims, schema, table string, row map[string]json.RawMessage) bool {
	rt.asked.Add(1)
	now, ok := rt.db.Current(schema, table, row)
	return ok && rt.db.Visible(c, schema, table, now)
}

// Publish takes a table into the publication supabase_realtime or out of it, and tells the
// subscriptions; false where there is no such table.
func (rt *Realtime) Publish(schema, name string, published bool) bool {
	if !rt.db.SetPublished(schema, name, published) {
		return false
	}
	rt.server.PublicationChanged()
	return true
}
