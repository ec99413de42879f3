package auth

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/socketio"
)

func placesIn(url string, places ...string) Credentials { return NewCredentials(places, url) }

func TestCredentialsAreTakenInTheConfiguredOrder(t *testing.T) {
	h := &socketio.Handshake{
		Auth:   json.RawMessage(`{"token":"from-auth","other":5,"session":{"access_token":"from-further-in"}}`),
		Query:  map[string]string{"token": "from-query"},
		Header: http.Header{"Authorization": {"Bearer from-header"}, "Cookie": {"sb=from-cookie; __Secure-app.session=from-dotted"}},
	}
	for _, test := range []struct {
		places []string
		want   string
	}{
		{[]string{"auth.token", "header.authorization"}, "from-auth"},
		{[]string{"header.authorization", "auth.token"}, "from-header"},
		{[]string{"auth.absent", "query.token"}, "from-query"},
		{[]string{"auth.session.access_token"}, "from-further-in"},
		{[]string{"auth.token.deeper", "auth.session.absent", "query.token"}, "from-query"},
		{[]string{"cookie.sb"}, "from-cookie"},
		{[]string{"cookie.__Secure-app.session"}, "from-dotted"},
		{[]string{"auth.absent", "header.x-absent", "query.absent", "cookie.absent", "cookie.sb-*-auth-token"}, ""},
		{[]string{"query.absent", "event"}, ""},
		{nil, ""},
	} {
		c := placesIn("https://abc.supabase.co", test.places...)
		if got, ok := c.Find(h); got != test.want || ok != (test.want != "") {
			t.Errorf("%v: %q %v, want %q", test.places, got, ok, test.want)
		}
	}
	if placesIn("", "auth.token").later || !placesIn("", "auth.token", "event").later {
		t.Error("a token may come later exactly where event is among the places")
	}
}

// session is what Supabase's libraries keep.
func session(token string) string {
	text, err := json.Marshal(map[string]any{"access_token": token, "token_type": "bearer", "refresh_token": "r", "user": map[string]any{"email": "ana@example.com"}})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// chunks writes a cookie in parts of some bytes each.
func chunks(name, value string, size int) string {
	var parts []string
	for i := 0; len(value) > 0; i++ {
		n := min(size, len(value))
		parts = append(parts, name+"."+strconv.Itoa(i)+"="+value[:n])
		value = value[n:]
	}
	return strings.Join(parts, "; ")
}

func TestTheSessionOfSupabasesLibrariesIsRead(t *testing.T) {
	const own = "sb-abc-auth-token"
	encoded := func(token string) string {
		return "base64-" + base64.RawURLEncoding.EncodeToString([]byte(session(token)))
	}
	escaped := url.QueryEscape(session("T"))
	for name, test := range map[string]struct{ cookies, want string }{
		"whole":                       {own + "=" + encoded("T"), "T"},
		"padded":                      {own + "=" + encoded("TT") + "==", "TT"},
		"in chunks":                   {chunks(own, encoded("T"), 40), "T"},
		"in chunks, in disorder":      {own + ".1=" + encoded("T")[20:] + "; x=y; " + own + ".0=" + encoded("T")[:20], "T"},
		"in more than ten chunks":     {chunks(own, encoded("T"), 10), "T"},
		"percent-encoded":             {own + "=" + strings.ReplaceAll(escaped, "+", "%20"), "T"},
		"percent-encoded, in chunks":  {chunks(own, strings.ReplaceAll(escaped, "+", "%20"), 31), "T"},
		"a list, of old":              {own + "=" + url.PathEscape(`["T","r",null,null]`), "T"},
		"of another project":          {"sb-other-auth-token=" + encoded("T"), "T"},
		"of several, ours first":      {"sb-aaa-auth-token=" + encoded("F") + "; " + own + "=" + encoded("T"), "T"},
		"of several others":           {"sb-zzz-auth-token=" + encoded("F") + "; sb-aaa-auth-token=" + encoded("T"), "T"},
		"ours is empty":               {own + "=" + encoded("") + "; sb-aaa-auth-token=" + encoded("T"), "T"},
		"a chunk is missing":          {own + ".1=" + encoded("T"), ""},
		"of two paths, the nearest":   {own + "=" + encoded("T") + "; " + own + "=" + encoded("F"), "T"},
		"only the code verifier":      {own + "-code-verifier=" + encoded("F"), ""},
		"no base64":                   {own + "=base64-%%%", ""},
		"no JSON":                     {own + "=base64-" + base64.RawURLEncoding.EncodeToString([]byte("{")), ""},
		"an access token of no text":  {own + "=base64-" + base64.RawURLEncoding.EncodeToString([]byte(`{"access_token":{}}`)), ""},
		"a list of nothing":           {own + "=base64-" + base64.RawURLEncoding.EncodeToString([]byte(`[]`)), ""},
		"the token itself":            {own + "=a.b.c", "a.b.c"},
		"a percent sign out of place": {own + "=100%", ""},
	} {
		h := &socketio.Handshake{Header: http.Header{"Cookie": {test.cookies}}}
		if got, _ := placesIn("https://abc.supabase.co", "cookie.sb-*-auth-token").Find(h); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	h := &socketio.Handshake{Header: http.Header{"Cookie": {chunks("my-session", encoded("T"), 50)}}}
	if got, _ := placesIn("", "cookie.my-session").Find(h); got != "T" {
		t.Errorf("under a name of one's own: %q, want T", got)
	}
}

func FuzzSessionIsReadFromCookies(f *testing.F) {
	f.Add("a.b.c", "sb-x-auth-token=base64-", 3000)
	f.Add("", `sb-abc-auth-token="%7B"; sb-abc-auth-token.0=[`, 1)
	f.Fuzz(func(t *testing.T, token, cookies string, size int) {
		c := placesIn("https://abc.supabase.co", "cookie.sb-*-auth-token", "cookie.other")
		c.Find(&socketio.Handshake{Header: http.Header{"Cookie": {cookies}}}) // whatever comes
		token = strings.TrimSpace(strings.ToValidUTF8(token, ""))
		if strings.HasPrefix(token, "Bearer ") {
			return
		}
		value := "base64-" + base64.RawURLEncoding.EncodeToString([]byte(session(token)))
		h := &socketio.Handshake{Header: http.Header{"Cookie": {chunks("sb-abc-auth-token", value, 8+max(0, size)%4096)}}}
		if got, _ := c.Find(h); got != token {
			t.Errorf("%q was kept in cookies, %q read", token, got)
		}
	})
}
