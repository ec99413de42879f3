package auth

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/socketio"
)

// Credentials finds a client's token at the configured places, in order.
type Credentials struct {
	places []string // as auth.credentials has them, without event
	own    string   // the name of the cookie that Supabase's libraries use for this project
	later  bool
}

// byEvent is the place of a token that comes later.
const byEvent = "event"

// NewCredentials reads places as auth.credentials has them. projectURL is supabase.url: Supabase's
// libraries name their cookie by the first label of its host.
func NewCredentials(places []string, projectURL string) Credentials {
	c := Credentials{places: places}
	if n := len(places); n > 0 && places[n-1] == byEvent {
		c.places, c.later = places[:n-1], true
	}
	if u, err := url.Parse(projectURL); err == nil {
		ref, _, _ := strings.Cut(u.Hostname(), ".")
		c.own = "sb-" + ref + "-auth-token"
	}
	return c
}

// Later reports whether a client without a token may connect, and authenticate by an event.
func (c Credentials) Later() bool { return c.later }

// Find returns the first token there is. "Bearer " in front of one is taken off.
func (c Credentials) Find(h *socketio.Handshake) (string, bool) {
	for _, place := range c.places {
		where, name, _ := strings.Cut(place, ".")
		var value string
		switch where {
		case "auth":
			value = Text(h.Auth, name)
		case "header":
			value = h.Header.Get(name)
		case "query":
			value = h.Query[name]
		case "cookie":
			value = c.cookie(h.Header, name)
		}
		if value = strings.TrimSpace(strings.TrimPrefix(value, "Bearer ")); value != "" {
			return value, true
		}
	}
	return "", false
}

// supabaseCookie is the name under which the session of Supabase's own libraries is configured:
// whichever project it is of. Where there are several, that of this project counts, else the first
// by name.
const supabaseCookie = "sb-*-auth-token"

// cookie gives the token in a cookie: its value, or the access token of the session that it holds.
func (c Credentials) cookie(header http.Header, name string) string {
	values := make(map[string]string)
	request := http.Request{Header: header}
	for _, cookie := range request.Cookies() {
		if _, twice := values[cookie.Name]; !twice { // the first is that of the nearest path
			values[cookie.Name] = cookie.Value
		}
	}
	if name != supabaseCookie {
		return sessionToken(joinChunks(values, name))
	}
	var names []string
	for found := range values {
		found = strings.TrimSuffix(found, ".0")
		if strings.HasPrefix(found, "sb-") && strings.HasSuffix(found, "-auth-token") && found != c.own {
			names = append(names, found)
		}
	}
	slices.Sort(names)
	for _, name := range append([]string{c.own}, names...) {
		if token := sessionToken(joinChunks(values, name)); token != "" {
			return token
		}
	}
	return ""
}

// joinChunks gives the value of a cookie that may be kept in parts, name.0, name.1 and so on, since
// browsers take no more than 4 KiB in one.
func joinChunks(cookies map[string]string, name string) string {
	if whole := cookies[name]; whole != "" {
		return whole
	}
	var b strings.Builder
	for i := 0; ; i++ {
		part, ok := cookies[name+"."+strconv.Itoa(i)]
		if !ok {
			return b.String()
		}
		b.WriteString(part)
	}
}

// sessionToken gives the access token of a session as Supabase's libraries write it: JSON, as an
// object or, of old, as a list that begins with it, in base64 behind "base64-" or percent-encoded.
// A value that is neither is the token itself; one that can't be read is none.
func sessionToken(value string) string {
	if encoded, ok := strings.CutPrefix(value, "base64-"); ok {
		decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
		if err != nil {
			return ""
		}
		value = string(decoded)
	} else if strings.Contains(value, "%") {
		decoded, err := url.PathUnescape(value)
		if err != nil {
			return ""
		}
		value = decoded
	}
	switch {
	case strings.HasPrefix(value, "{"):
		var session struct {
			AccessToken string `json:"access_token"`
		}
		_ = json.Unmarshal([]byte(value), &session) // what can't be read holds no token
		return session.AccessToken
	case strings.HasPrefix(value, "["):
		var session []json.RawMessage
		var token string
		if json.Unmarshal([]byte(value), &session) == nil && len(session) > 0 {
			_ = json.Unmarshal(session[0], &token)
		}
		return token
	}
	return value
}

// Text returns a string or number of a handshake's auth object, "" where there is none. Dots in
// path lead further in.
func Text(auth json.RawMessage, path string) string {
	for {
		name, further, deeper := strings.Cut(path, ".")
		var object map[string]json.RawMessage
		if json.Unmarshal(auth, &object) != nil {
			return ""
		}
		if auth = object[name]; len(auth) == 0 {
			return ""
		}
		if !deeper {
			break
		}
		path = further
	}
	var text string
	if json.Unmarshal(auth, &text) == nil {
		return text
	}
	var number json.Number
	if json.Unmarshal(auth, &number) == nil {
		return number.String()
	}
	return ""
}
