package tokens_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/supabridge/supabridge/bridge/standin/tokens"
)

func newTokens(t testing.TB) *tokens.Tokens {
	t.Helper()
	project, err := tokens.New(tokens.DefaultJWTSecret)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func signWith(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTokensAreRefusedInRealtimesWords(t *testing.T) {
	now := time.Unix(1_795_388_000, 0)
	project := newTokens(t)
	secret := []byte(tokens.DefaultJWTSecret)
	later := now.Add(time.Hour).Unix()
	for _, c := range []struct {
		name, token string
		kind        error
		text        string
	}{
		{"empty", "", tokens.ErrTokenMalformed, "The token provided is not a valid JWT"},
		{"no JWT", "abc", tokens.ErrTokenMalformed, "The token provided is not a valid JWT"},
		{"two parts", "a.b", tokens.ErrTokenMalformed, "The token provided is not a valid JWT"},
		{"rubbish in parts", "a.b.c", tokens.ErrTokenMalformed, "The token provided is not a valid JWT"},
		{"other secret", signWith(t, jwt.SigningMethodHS256, []byte("another"), jwt.MapClaims{"role": "anon", "exp": later}), tokens.ErrTokenSignature, "Failed to validate JWT signature"},
		{"other secret and expired", signWith(t, jwt.SigningMethodHS256, []byte("another"), jwt.MapClaims{"role": "anon", "exp": 1}), tokens.ErrTokenSignature, "Failed to validate JWT signature"},
		{"no signature", signWith(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"role": "service_role", "exp": later}), tokens.ErrTokenSigner, "Failed to generate JWT signer"},
		{"no role", signWith(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"exp": later}), tokens.ErrTokenFields, "Fields `role` and `exp` are required in JWT"},
		{"no exp", signWith(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"role": "anon"}), tokens.ErrTokenFields, "Fields `role` and `exp` are required in JWT"},
		{"exp is a text", signWith(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"role": "anon", "exp": "soon"}), tokens.ErrTokenExpiry, "Token expiration time is invalid"},
		{"expired", signWith(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"role": "anon", "exp": now.Unix() - 3686}), tokens.ErrTokenExpired, "Token has expired 3686 seconds ago"},
		{"expires now", signWith(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"role": "anon", "exp": now.Unix()}), tokens.ErrTokenExpired, "Token has expired 0 seconds ago"},
	} {
		_, err := project.Verify(c.token, now)
		if !errors.Is(err, c.kind) || err.Error() != c.text {
			t.Errorf("%s: %v, want %q", c.name, err, c.text)
		}
	}
}

func TestMintedTokensVerify(t *testing.T) {
	now := time.Unix(1_795_388_000, 0)
	project := newTokens(t)
	token, err := project.Mint("authenticated", "u1", map[string]any{"app_metadata": map[string]any{"n": json.Number("9007199254740993")}}, now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c, err := project.Verify(token, now)
	if err != nil || c.Role != "authenticated" || c.Subject != "u1" || !c.Expires.Equal(now.Add(time.Minute)) {
		t.Errorf("claims %+v, %v", c, err)
	}
	if app, _ := c.Raw["app_metadata"].(map[string]any); app["n"] != json.Number("9007199254740993") {
		t.Errorf("the number came back as %v", app["n"])
	}
	for _, alg := range []jwt.SigningMethod{jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
		if _, err := project.Verify(signWith(t, alg, []byte(tokens.DefaultJWTSecret), jwt.MapClaims{"role": "anon", "exp": now.Unix() + 1}), now); err != nil {
			t.Errorf("%s: %v", alg.Alg(), err)
		}
	}
}

func TestKeysOutliveARestart(t *testing.T) {
	a, b := newTokens(t), newTokens(t)
	other, err := tokens.New("another secret")
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]func(*tokens.Tokens) string{
		"anon": (*tokens.Tokens).AnonKey, "service": (*tokens.Tokens).ServiceKey, "publishable": (*tokens.Tokens).PublishableKey, "secret": (*tokens.Tokens).SecretKey,
	} {
		if key(a) != key(b) || key(a) == key(other) {
			t.Errorf("the %s key must follow from the secret alone", name)
		}
	}
	for key, role := range map[string]string{a.AnonKey(): "anon", a.PublishableKey(): "anon", a.ServiceKey(): "service_role", a.SecretKey(): "service_role"} {
		c, err := b.Verify(b.Exchange(key), time.Now())
		if err != nil || c.Role != role {
			t.Errorf("key of %s: role %q, %v", role, c.Role, err)
		}
	}
	if _, err := a.Verify(a.Exchange(other.SecretKey()), time.Now()); !errors.Is(err, tokens.ErrTokenMalformed) {
		t.Errorf("another project's key: %v", err)
	}
	if _, err := tokens.New(""); err == nil {
		t.Error("an empty secret is taken")
	}
}

func TestSecretsAreNotInErrors(t *testing.T) {
	project := newTokens(t)
	token := strings.Replace(project.ServiceKey(), ".", ".e30", 1)
	if _, err := project.Verify(token, time.Now()); err == nil || strings.Contains(err.Error(), "eyJ") {
		t.Errorf("the error is %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	project := newTokens(f)
	f.Add(project.AnonKey())
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYW5vbiIsImV4cCI6MX0.")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := project.Verify(token, time.Now())
		if err == nil && c.Role != "anon" && c.Role != "service_role" {
			t.Fatalf("%q verifies as %+v", token, c)
		}
	})
}
