// Package sample is what `supabridge dev` shows in a browser: an inbox page in the style of a chat program, and a small
// simulated conversation that keeps it alive.
//
// The page is a frontend like any other. It reads and writes rows through the REST interface of
// Supabase with the user's own token, and listens to the bridge over Socket.IO with the default
// vocabulary. It needs nothing from the network but those two: script, style and its small
// Socket.IO client are embedded.
//
//	mux.Handle("/", sample.Handler(sample.Options{SupabaseURL: "http://127.0.0.1:54321", AnonKey: key, Users: users}))
//	go sample.RunTraffic(ctx, sample.TrafficOptions{SupabaseURL: url, ServiceKey: key, SocketURL: "http://127.0.0.1:3001", Users: users})
//
// Handler starts no goroutine. RunTraffic starts one for each simulated colleague and returns once
// all have ended.
package sample

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
)

//go:embed page
var page embed.FS

// User is somebody the page can be used as.
type User struct {
	ID   string
	Name string
	// Tenant is the id of the user's distributor, TenantName what people call it.
	Tenant     string
	TenantName string
	// Token is the user's access token, handed to whoever opens the page. Options.Token, where given,
	// takes its place.
	Token string
}

// Options say where the page finds its Supabase and who may use it.
type Options struct {
	// SupabaseURL is the address of the project as browsers reach it, without a path.
	SupabaseURL string
	// AnonKey is the project's public key.
	AnonKey string
	// Users are offered in this order; the first is signed in when the address names none.
	Users []User
	// Token makes an access token for a user at each request of a session, so that a page stays signed
	// in for longer than a token lives. Nil hands out the tokens in Users.
	Token func(userID string) (string, error)
}

// Handler serves the page at /, its parts below /sample/ and, as /sample/session, the JSON it signs
// in with. Every other path is 404 and every method but GET and HEAD 405.
//
// Anyone who can reach it can act as any of the users: it belongs before a stand-in with made-up
// data, never before a project with real users.
func Handler(o Options) http.Handler {
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the folder is embedded: it cannot be absent
	}
	policy := contentSecurityPolicy(o.SupabaseURL)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		http.ServeFileFS(w, r, files, "/")
	})
	mux.Handle("GET /sample/", http.StripPrefix("/sample/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, err := fs.Stat(files, r.URL.Path); err != nil || info.IsDir() {
			http.NotFound(w, r)
			return
		}
		http.ServeFileFS(w, r, files, r.URL.Path)
	})))
	mux.HandleFunc("GET /sample/session", func(w http.ResponseWriter, r *http.Request) { serveSession(w, o) })
	return headers(mux)
}

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache") // embedded files have no time to revalidate by, and a new binary brings a new page
		next.ServeHTTP(w, r)
	})
}

// contentSecurityPolicy allows the page's own files, and connections to itself and to Supabase;
// nothing inline, nothing else.
func contentSecurityPolicy(supabaseURL string) string {
	connect := "'self'"
	if u, err := url.Parse(supabaseURL); err == nil && u.Host != "" {
		connect += " " + u.Scheme + "://" + u.Host
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src " + connect +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// session is what the page signs in with.
type session struct {
	SupabaseURL string        `json:"supabaseUrl"`
	AnonKey     string        `json:"anonKey"`
	Users       []sessionUser `json:"users"`
}

type sessionUser struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Tenant     string `json:"tenant"`
	TenantName string `json:"tenantName"`
	Token      string `json:"token"`
}

func serveSession(w http.ResponseWriter, o Options) {
	s := session{SupabaseURL: o.SupabaseURL, AnonKey: o.AnonKey, Users: make([]sessionUser, len(o.Users))}
	for i, user := range o.Users {
		token := user.Token
		if o.Token != nil {
			var err error
			if token, err = o.Token(user.ID); err != nil {
				http.Error(w, "no token for user "+user.ID, http.StatusInternalServerError)
				return
			}
		}
		s.Users[i] = sessionUser{user.ID, user.Name, user.Tenant, user.TenantName, token}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(s) // fails only when the browser has gone
}
