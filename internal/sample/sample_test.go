package sample_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/internal/sample"
)

var users = []sample.User{
	{ID: "u1", Name: "Ana", Tenant: "t1", TenantName: "North", Token: "token-1"},
	{ID: "u2", Name: "Ben", Tenant: "t2", TenantName: "South", Token: "token-2"},
}

func get(t *testing.T, h http.Handler, method, path string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHandlerServesThePageAndItsPartsOnly(t *testing.T) {
	h := sample.Handler(sample.Options{SupabaseURL: "http://127.0.0.1:54321", AnonKey: "anon", Users: users})
	for _, test := range []struct {
		method, path string
		status       int
		contentType  string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/?user=u2", 200, "text/html; charset=utf-8"},
		{"GET", "/sample/app.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/sample/socket.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/sample/app.css", 200, "text/css; charset=utf-8"},
		{"GET", "/sample/session", 200, "application/json; charset=utf-8"},
		{"GET", "/sample/", 404, ""},
		{"GET", "/sample/nothing.js", 404, ""},
		{"GET", "/sample/../sample.go", 307, ""},
		{"GET", "/nothing", 404, ""},
		{"POST", "/", 405, ""},
		{"POST", "/sample/session", 405, ""},
	} {
		r := get(t, h, test.method, test.path)
		if r.StatusCode != test.status {
			t.Errorf("%s %s: status %d, want %d", test.method, test.path, r.StatusCode, test.status)
		}
		if got := r.Header.Get("Content-Type"); test.status == 200 && got != test.contentType {
			t.Errorf("%s %s: Content-Type %q, want %q", test.method, test.path, got, test.contentType)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: no nosniff", test.method, test.path)
		}
	}
}

func TestPageMayConnectToItselfAndSupabaseOnly(t *testing.T) {
	h := sample.Handler(sample.Options{SupabaseURL: "http://127.0.0.1:54321/some/path;script-src *"})
	policy := get(t, h, "GET", "/").Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self' http://127.0.0.1:54321;", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy %q lacks %q", policy, want)
		}
	}
	if strings.Contains(policy, "*") {
		t.Errorf("policy %q lets anything through", policy)
	}
}

// A page that works offline names no other host and has nothing inline that its policy would
// refuse.
func TestPageNeedsNothingFromElsewhere(t *testing.T) {
	elsewhere := regexp.MustCompile(`(?:https?:)?//[a-z0-9.-]+\.[a-z]+`)
	inline := regexp.MustCompile(`<script>|<style|\sstyle=|\son[a-z]+=`)
	err := fs.WalkDir(os.DirFS("page"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile("page/" + path)
		if err != nil {
			return err
		}
		content := strings.ReplaceAll(string(text), "http://www.w3.org/2000/svg", "") // a name, not an address
		if found := elsewhere.FindString(content); found != "" {
			t.Errorf("%s names %s", path, found)
		}
		if strings.HasSuffix(path, ".html") {
			if found := inline.FindString(content); found != "" {
				t.Errorf("%s has %q inline", path, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

type session struct {
	SupabaseURL, AnonKey string
	Users                []struct{ ID, Name, Tenant, TenantName, Token string }
}

func readSession(t *testing.T, h http.Handler) session {
	t.Helper()
	r := get(t, h, "GET", "/sample/session")
	if r.StatusCode != 200 || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("session: status %d, Cache-Control %q", r.StatusCode, r.Header.Get("Cache-Control"))
	}
	var s session
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSessionNamesUsersWithTheirTokens(t *testing.T) {
	s := readSession(t, sample.Handler(sample.Options{SupabaseURL: "http://127.0.0.1:54321", AnonKey: "anon", Users: users}))
	if s.SupabaseURL != "http://127.0.0.1:54321" || s.AnonKey != "anon" || len(s.Users) != 2 {
		t.Fatalf("session %+v", s)
	}
	if got := sample.User(s.Users[1]); got != users[1] {
		t.Errorf("second user %+v, want %+v", got, users[1])
	}
}

func TestSessionAsksForFreshTokens(t *testing.T) {
	made := 0
	h := sample.Handler(sample.Options{Users: users[:1], Token: func(id string) (string, error) {
		made++
		return strings.Repeat(id, made), nil
	}})
	for _, want := range []string{"u1", "u1u1"} {
		if got := readSession(t, h).Users[0].Token; got != want {
			t.Errorf("token %q, want %q", got, want)
		}
	}
}

func TestSessionFailsWithoutAToken(t *testing.T) {
	h := sample.Handler(sample.Options{Users: users, Token: func(string) (string, error) { return "", errors.New("secret cause") }})
	r := get(t, h, "GET", "/sample/session")
	if r.StatusCode != 500 {
		t.Errorf("status %d, want 500", r.StatusCode)
	}
	if text := body(t, r); strings.Contains(text, "secret cause") {
		t.Errorf("the answer tells the cause: %q", text)
	}
}

func ExampleHandler() {
	mux := http.NewServeMux()
	mux.Handle("/", sample.Handler(sample.Options{
		SupabaseURL: "http://127.0.0.1:54321",
		AnonKey:     "the public key",
		Users:       []sample.User{{ID: "1", Name: "Ana", Tenant: "7", TenantName: "North", Token: "Ana's token"}},
	}))
	server := httptest.NewServer(mux)
	defer server.Close()

	response, err := http.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	fmt.Println(response.Status, response.Header.Get("Content-Type"))
	// Output: 200 OK text/html; charset=utf-8
}
