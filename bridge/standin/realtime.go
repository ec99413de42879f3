package standin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// RealtimeOptions adjust the stand-in's Realtime. The zero options are a server that
// doesn't let anybody wait, limits nothing and, as a fresh project does, lets only
// service_role onto private channels.
type RealtimeOptions struct {
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

// realtime is the project's side of the Realtime server: its keys, policies and tables.
// It is immutable but for the server and what is atomic.
type realtime struct {
	db     *DB
	tokens *Tokens
	opts   RealtimeOptions
	server *phxserver.Server
	cancel func()        // ends the triggers' broadcasts
	asked  atomic.Uint64 // questions to row level security
	// lane is the topic of supabridge's triggers, "" without them; unguarded: its policy is gone.
	lane      string
	unguarded atomic.Bool
}

// newRealtime starts a Realtime server for the tables of db. The caller closes it.
func newRealtime(db *DB, tokens *Tokens, opts RealtimeOptions) *realtime {
	rt := &realtime{db: db, tokens: tokens, opts: opts, lane: db.laneTopic()}
	rt.server = phxserver.NewServer(rt, opts.Options)
	rt.cancel = db.OnChange(rt.broadcastChanges)
	return rt
}

// mount puts Realtime where Supabase's gateway has it, and where its own server has it,
// and beside it the endpoint for faults.
func (rt *realtime) mount(mux *http.ServeMux) {
	rt.mountAdmin(mux)
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
func (rt *realtime) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, err := rt.Verify(r.Context(), token); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	// In the order in which the real one tells it; a database in memory is connected.
	fmt.Fprintf(w, `{"data":{"node":"realtime@127.0.0.1","region":"us-east-1","replication_connected":true,"healthy":true,"db_connected":true,"connected_cluster":%d}}`, rt.server.Connected())
}

// close ends every socket, as a server that restarts does.
func (rt *realtime) close(ctx context.Context) error {
	rt.cancel()
	return rt.server.Close(ctx)
}

// Connect admits whoever has a key of the project, or a token it has signed.
func (rt *realtime) Connect(_ context.Context, h phxserver.Handshake) (Claims, error) {
	if h.APIKey == "" {
		return Claims{}, &phxserver.RefusedError{Status: http.StatusUnauthorized, Message: "API key is missing"}
	}
	c, err := rt.tokens.Verify(rt.tokens.Exchange(h.APIKey), time.Now())
	if err == nil {
		return c, nil
	}
	text := err.Error()
	if errors.Is(err, ErrTokenExpired) {
		text = ErrTokenExpired.Error() // without saying since when
	}
	return c, &phxserver.RefusedError{Status: http.StatusUnauthorized, Message: text}
}

// Verify checks a channel's token.
func (rt *realtime) Verify(_ context.Context, token string) (Claims, error) {
	c, err := rt.tokens.Verify(rt.tokens.Exchange(token), time.Now())
	if err == nil {
		return c, nil
	}
	refused := &phxserver.TokenError{Code: "InvalidJWTToken", Message: err.Error()}
	switch {
	case errors.Is(err, ErrTokenMalformed):
		refused.Code = "MalformedJWT"
	case errors.Is(err, ErrTokenSigner):
		refused.Code = "JwtSignerError"
	case errors.Is(err, ErrTokenSignature):
		refused.Code, refused.Pushed = "JwtSignatureError", ":signature_error"
	}
	return c, refused
}

// Authorize adds up the policies that fit.
func (rt *realtime) Authorize(_ context.Context, c Claims, topic string) (phxserver.Access, error) {
	if c.Role == roleService {
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
func (p TopicPolicy) fits(c Claims, topic string) bool {
	var pattern strings.Builder
	rest := p.Topic
	for {
		before, after, found := strings.Cut(rest, "{")
		pattern.WriteString(before)
		if !found {
			break
		}
		path, tail, closed := strings.Cut(after, "}")
		text, ok := claimText(c.Raw, strings.Split(path, "."))
		if !closed || !ok {
			return false
		}
		pattern.WriteString(likeLiteral.Replace(text))
		rest = tail
	}
	return like(pattern.String(), topic)
}

var likeLiteral = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

// like is SQL's LIKE.
func like(pattern, text string) bool { return matchLike(parseLike(pattern, false), text, false) }

// Tables lists published tables; the patterns are compared as LIKE compares, and "*"
// fits everything.
func (rt *realtime) Tables(_ context.Context, c Claims, schema, name string) ([]phxserver.Table, error) {
	if !knownRole(c.Role) {
		return nil, errors.New(`ERROR 42704 (undefined_object) role "` + c.Role + `" does not exist`)
	}
	var tables []phxserver.Table
	for _, t := range rt.db.Tables() {
		if t.Published && (schema == "*" || like(schema, t.Schema)) && (name == "*" || like(name, t.Name)) {
			columns, restricted := rt.db.tables[tableName{t.Schema, t.Name}].readable(c.Role)
			tables = append(tables, phxserver.Table{Schema: t.Schema, Name: t.Name, Columns: changeColumns(columns), Key: t.Key, Restricted: restricted})
		}
	}
	return tables, nil
}

func changeColumns(columns []Column) []phxserver.Column {
	out := make([]phxserver.Column, len(columns))
	for i, c := range columns {
		out[i] = phxserver.Column(c)
	}
	return out
}

// Watch passes on the changes of published tables.
func (rt *realtime) Watch(fn func([]phxserver.Change)) (cancel func()) {
	return rt.db.OnChange(func(changes []Change) {
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
func (rt *realtime) Visible(c Claims, schema, table string, row map[string]json.RawMessage) bool {
	rt.asked.Add(1)
	now, ok := rt.db.currentRow(schema, table, row)
	return ok && rt.db.Visible(c, schema, table, now)
}

// currentRow finds a row of now by the key of one of before.
func (db *DB) currentRow(schema, table string, before map[string]json.RawMessage) (map[string]json.RawMessage, bool) {
	t, ok := db.tables[tableName{schema, table}]
	if !ok {
		return nil, false
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	primary := t.primary()
	if primary == nil {
		return nil, false
	}
	readable := true
	key, complete := primary.key(func(i int) value {
		c := t.columns[primary.columns[i]]
		v, err := c.typ.parseJSON(before[c.name])
		readable = readable && err == nil
		return v
	})
	found := primary.one[key]
	if !readable || !complete || found == nil {
		return nil, false
	}
	return t.document(found.vals), true
}
