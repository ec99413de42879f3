package standin_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/supabridge/supabridge/bridge/standin"
)

func TestRotatedKeysArePublishedAndSignUsersTokens(t *testing.T) {
	s, err := standin.New(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	user := s.Users()[0].ID
	mint := func() string {
		t.Helper()
		token, err := s.UserToken(user)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	published := func() keyfunc.Keyfunc {
		t.Helper()
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/auth/v1/.well-known/jwks.json", nil))
		keys, err := keyfunc.NewJWKSetJSON(json.RawMessage(w.Body.Bytes()))
		if err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
		return keys
	}
	old := mint()
	var tokens []string
	for range 3 {
		kid, err := s.RotateKeys()
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, mint())
		parsed, err := jwt.Parse(tokens[len(tokens)-1], published().Keyfunc, jwt.WithValidMethods([]string{"ES256"}))
		if err != nil || parsed.Header["kid"] != kid {
			t.Errorf("a token after a rotation to %s: header %v, %v", kid, parsed.Header, err)
		}
	}
	for _, token := range append(tokens, old, s.ServiceKey(), s.AnonKey()) {
		if _, err := s.Tokens().Verify(token, time.Now()); err != nil {
			t.Errorf("%s: %v", token, err)
		}
	}
	s.RevokeKeys()
	for i, token := range tokens {
		_, err := s.Tokens().Verify(token, time.Now())
		if last := i == len(tokens)-1; last && err != nil || !last && !errors.Is(err, standin.ErrTokenSigner) {
			t.Errorf("token %d after the keys before were taken back: %v", i, err)
		}
		if _, err := jwt.Parse(token, published().Keyfunc); (err == nil) != (i == len(tokens)-1) {
			t.Errorf("token %d by what is published: %v", i, err)
		}
	}
}
