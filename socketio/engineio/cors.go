package engineio

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CORS says which pages of other origins may connect; the zero value lets none. Requests of others
// are refused, those for websockets too: browsers don't apply CORS to them. Requests without an
// Origin header don't come from a page of another origin and are always let in. A page is of the
// server's own origin if its Origin names the host that the request's Host header names; a proxy
// must pass that on.
type CORS struct {
	// Origins are allowed as they stand, such as "https://app.example.com". "*" allows all.
	Origins []string
	// Allow, if set, decides about origins that are not in Origins. The request may be an OPTIONS
	// request.
	Allow func(r *http.Request, origin string) bool
	// Credentials lets browsers send cookies. The origin is then echoed, never answered with "*".
	Credentials bool
	// Methods and Headers that a preflight allows. Defaults: GET, HEAD, PUT, PATCH, POST, DELETE, and
	// whatever is asked for.
	Methods []string
	Headers []string
	// MaxAge is how long browsers may keep a preflight's answer. 0: their default.
	MaxAge time.Duration
}

func (c *CORS) active() bool { return len(c.Origins) > 0 || c.Allow != nil }

// allows reports whether the request may come from its origin, which is another than the server's.
func (c *CORS) allows(r *http.Request, origin string) bool {
	return slices.Contains(c.Origins, "*") || slices.Contains(c.Origins, origin) || c.Allow != nil && c.Allow(r, origin)
}

// headers sets the headers of a response to r.
func (c *CORS) headers(h http.Header, r *http.Request) {
	origin := r.Header.Get("Origin")
	if slices.Contains(c.Origins, "*") && !c.Credentials {
		h.Set("Access-Control-Allow-Origin", "*")
	} else {
		h.Add("Vary", "Origin")
		if origin == "" || !c.allows(r, origin) {
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
	}
	if c.Credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// preflight answers an OPTIONS request.
func (c *CORS) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	methods := "GET,HEAD,PUT,PATCH,POST,DELETE"
	if len(c.Methods) > 0 {
		methods = strings.Join(c.Methods, ",")
	}
	h.Set("Access-Control-Allow-Methods", methods)
	if len(c.Headers) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(c.Headers, ","))
	} else if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Add("Vary", "Access-Control-Request-Headers")
		h.Set("Access-Control-Allow-Headers", asked)
	}
	if c.MaxAge > 0 {
		h.Set("Access-Control-Max-Age", strconv.Itoa(int(c.MaxAge/time.Second)))
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusNoContent)
}

// crossOrigin reports whether a page of another origin than this server's sent the request. Whether
// a proxy speaks TLS for the server can't be seen, so over plain HTTP an origin may have either
// scheme.
func crossOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || r.TLS != nil && u.Scheme != "https" {
		return true
	}
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	return !strings.EqualFold(strings.TrimSuffix(u.Host, port), strings.TrimSuffix(r.Host, port))
}
