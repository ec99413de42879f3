package standin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/supabridge/supabridge/bridge/standin/realtime"
	"github.com/supabridge/supabridge/bridge/standin/rest"
)

// Options say what a Server is made of. The zero value is the inbox with the secret of local
// Supabase stacks.
type Options struct {
	// Seed is what the tables are and hold at first. Nil is DefaultSeed.
	Seed *Seed
	// JWTSecret signs and verifies tokens, HS256. Empty is DefaultJWTSecret.
	JWTSecret string
	// TokenTTL is how long the tokens that UserToken and the auth service mint are valid. 0 is 24
	// hours.
	TokenTTL time.Duration
	// MaxRows bounds the rows of one answer of REST. 0 is 1000, as on Supabase.
	MaxRows int
	// Unmigrated leaves out the function that supabridge's migration brings, by which doctor asks what
	// the catalog says of tables.
	Unmigrated bool
	// Limits bound what the tables hold.
	Limits Limits
	// Broadcast gives tables, by the name they have in the first schema, the private topic on which a
	// trigger broadcasts each change of a row, over what the seed says of them.
	Broadcast map[string]string
	// Realtime adjusts the server of changes, broadcast and presence.
	Realtime RealtimeOptions
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
}

// Server is the stand-in. It is immutable but for its tables and Realtime's sockets, which guard
// themselves; safe for any number of goroutines.
type Server struct {
	seed     *Seed
	db       *DB
	tokens   *Tokens
	realtime *realtime.Realtime
	rest     *rest.Handler
	tokenTTL time.Duration
	now      func() time.Time
	handler  http.Handler
}

// New makes a stand-in and fills its tables. It listens nowhere: see Handler. Close it in the end.
// The error names the line of the seed that is at fault.
func New(opts Options) (*Server, error) {
	if opts.Seed == nil {
		opts.Seed = DefaultSeed()
	}
	if opts.JWTSecret == "" {
		opts.JWTSecret = DefaultJWTSecret
	}
	if opts.TokenTTL == 0 {
		opts.TokenTTL = 24 * time.Hour
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	tokens, err := NewTokens(opts.JWTSecret)
	if err != nil {
		return nil, err
	}
	db, err := opts.Seed.broadcasting(opts.Broadcast).NewDB(opts.Limits, opts.Now)
	if err != nil {
		return nil, err
	}
	for name := range opts.Broadcast {
		if _, ok := db.Table(db.Schemas()[0], name); !ok {
			return nil, fmt.Errorf("standin: broadcast: there is no table %q", name)
		}
	}
	s := &Server{seed: opts.Seed, db: db, tokens: tokens, tokenTTL: opts.TokenTTL, now: opts.Now}
	s.realtime = realtime.New(db, tokens, opts.Realtime)
	s.rest = rest.New(db, rest.Options{
		MaxRows: opts.MaxRows, Migrated: !opts.Unmigrated, Lane: s.realtime.Lane(), Guarded: s.realtime.LaneGuard,
	})
	s.handler = gateway(s.now, s.mux())
	return s, nil
}

// mux lays out the paths.
func (s *Server) mux() *http.ServeMux {
	mux := http.NewServeMux()
	s.mountAdmin(mux)
	s.realtime.Mount(mux)
	mux.Handle("/rest/v1/", s.identified(s.rest.Refuse, s.rest.Serve))
	mux.Handle("GET /auth/v1/user", s.identified(refuseBearer, s.serveUser))
	mux.Handle("POST /auth/v1/token", s.identified(refuseBearer, s.serveToken))
	mux.Handle(
		"POST /auth/v1/logout",
		s.identified(refuseBearer, func(w http.ResponseWriter, _ *http.Request, _ Claims, _ []byte) {
			w.WriteHeader(http.StatusNoContent)
		}),
	)
	mux.HandleFunc("GET /auth/v1/.well-known/jwks.json", s.serveKeys)
	mux.HandleFunc("POST /admin/keys", localOnly(s.rotateKeys))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, r, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /{$}", s.serveSelf)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, r, http.StatusNotFound, gatewayError{Message: "no Route matched with those values"})
	})
	return mux
}

// serveSelf says what this is.
func (s *Server) serveSelf(w http.ResponseWriter, r *http.Request) {
	tables := []string{}
	for _, info := range s.db.Tables() {
		tables = append(tables, info.Schema+"."+info.Name)
	}
	writeJSON(w, r, http.StatusOK, map[string]any{
		"name": "supabridge stand-in for Supabase", "rest": "/rest/v1/", "realtime": "/realtime/v1/websocket",
		"auth": "/auth/v1/", "tables": tables,
	})
}

// Handler serves every path of the stand-in.
func (s *Server) Handler() http.Handler { return s.handler }

// DB gives the tables.
func (s *Server) DB() *DB { return s.db }

// Tokens gives what mints and verifies this project's tokens.
func (s *Server) Tokens() *Tokens { return s.tokens }

// AnonKey is the project's anon key.
func (s *Server) AnonKey() string { return s.tokens.AnonKey() }

// ServiceKey is the project's service_role key.
func (s *Server) ServiceKey() string { return s.tokens.ServiceKey() }

// SetLaneGuard takes away the policy that keeps everybody but service_role off the topics of
// supabridge's triggers, or brings it back. It is there at first, if Options.Broadcast or the seed
// gives a table such a topic, as after supabridge's migration. Without it RealtimeOptions.Policies
// alone count.
func (s *Server) SetLaneGuard(there bool) { s.realtime.SetLaneGuard(there) }

// Asked is how often Realtime has asked row level security whether a subscriber may read a changed
// row.
func (s *Server) Asked() uint64 { return s.realtime.Asked() }

// Close ends the connections of Realtime and waits for their goroutines until ctx is done. Requests
// to REST end by themselves.
func (s *Server) Close(ctx context.Context) error { return s.realtime.Close(ctx) }
