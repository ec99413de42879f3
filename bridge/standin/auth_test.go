package standin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestUsersSignInAndRenew(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeServer(t, s)
	ask := func(method, path, body, token string) (int, map[string]any) {
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		r.Header.Set("apikey", s.AnonKey())
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		var out map[string]any
		if w.Body.Len() > 0 {
			if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
				t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
			}
		}
		return w.Code, out
	}
	status, session := ask(http.MethodPost, "/auth/v1/token?grant_type=password", `{"email":"Ana@harbour.example","password":"password"}`, "")
	token, _ := session["access_token"].(string)
	if status != 200 || token == "" {
		t.Fatalf("sign in: %d %v", status, session)
	}
	if status, user := ask(http.MethodGet, "/auth/v1/user", "", token); status != 200 || user["email"] != "ana@harbour.example" {
		t.Errorf("user: %d %v", status, user)
	}
	refresh, _ := session["refresh_token"].(string)
	if status, next := ask(http.MethodPost, "/auth/v1/token?grant_type=refresh_token", `{"refresh_token":"`+refresh+`"}`, ""); status != 200 || next["access_token"] == nil {
		t.Errorf("renew: %d %v", status, next)
	}
	for _, c := range []struct {
		method, path, body, token string
		status                    int
		code                      string
	}{
		{http.MethodPost, "/auth/v1/token?grant_type=password", `{"email":"ana@harbour.example","password":""}`, "", 400, "invalid_credentials"},
		{http.MethodPost, "/auth/v1/token?grant_type=password", `{"email":"nobody@harbour.example","password":"password"}`, "", 400, "invalid_credentials"},
		{http.MethodPost, "/auth/v1/token?grant_type=refresh_token", `{"refresh_token":""}`, "", 400, "refresh_token_not_found"},
		{http.MethodPost, "/auth/v1/token?grant_type=id_token", `{}`, "", 400, "unsupported_grant_type"},
		{http.MethodPost, "/auth/v1/token", `[`, "", 400, "bad_json"},
		{http.MethodGet, "/auth/v1/user", "", "", 403, "bad_jwt"},
		{http.MethodGet, "/auth/v1/user", "", token + "x", 403, "bad_jwt"},
	} {
		if status, got := ask(c.method, c.path, c.body, c.token); status != c.status || got["error_code"] != c.code {
			t.Errorf("%s %s %s: %d %v, want %d %s", c.method, c.path, c.body, status, got, c.status, c.code)
		}
	}
	if status, keys := ask(http.MethodGet, "/auth/v1/.well-known/jwks.json", "", ""); status != 200 || len(keys["keys"].([]any)) != 0 {
		t.Errorf("keys: %d %v", status, keys)
	}
	unknown := (*Error)(nil)
	if _, err := s.UserToken("nobody"); !errors.As(err, &unknown) || unknown.Code != "user_not_found" {
		t.Errorf("token of nobody: %v", err)
	}
}
