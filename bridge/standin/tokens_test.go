package standin

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func newTokens(t testing.TB) *Tokens {
	t.Helper()
	tokens, err := NewTokens(DefaultJWTSecret)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
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
	tokens := newTokens(t)
	secret := []byte(DefaultJWTSecret)
	later := now.Add(time.Hour).Unix()
	for _, c := range []struct {
		name, token string
		kind        error
		text        string
	}{
		{"empty", "", ErrTokenMalformed, "The token provided is not a valid JWT"},
		{"no JWT", "abc", ErrTokenMalformed, "The token provided is not a valid JWT"},
		{"two parts", "a.b", ErrTokenMalformed, "The token provided is not a valid JWT"},
		{"rubbish in parts", "a.b.c", ErrTokenMalformed, "The token provided is not a valid JWT"},
		{"other secret", signWith(t, jwt.SigningMethodHS256, []byte("another"), jwt.MapClaims{"role": "anon", "exp": later}), ErrTokenSignature, "Failed to validate JWT signature"},
		{"other secret and expired", signWith(t, jwt.SigningMethodHS256, []byte("another"), jwt.MapClaims{"role": "anon", "exp": 1}), ErrTokenSignature, "Failed to validate JWT signature"},
		{"no signature", signWith(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"role": "service_role", "exp": later}), ErrTokenSigner, "Failed to generate JWT signer"},
		{"no role", signWith(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"exp": later}), ErrTokenFields, "Fields `role` and `exp` are required in JWT"},
		{"no exp", signWith(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"role": "anon"}), ErrTokenFields, "Fields `role` and `exp` are required in JWT"},
		{"exp is a text", signWith(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"role": "anon", "exp": "soon"}), ErrTokenExpiry, "Token expiration time is invalid"},
		{"expired", signWith(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"role": "anon", "exp": now.Unix() - 3686}), ErrTokenExpired, "Token has expired 3686 seconds ago"},
		{"expires now", signWith(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"role": "anon", "exp": now.Unix()}), ErrTokenExpired, "Token has expired 0 seconds ago"},
	} {
		_, err := tokens.Verify(c.token, now)
		if !errors.Is(err, c.kind) || err.Error() != c.text {
			t.Errorf("%s: %v, want %q", c.name, err, c.text)
		}
	}
}

func TestMintedTokensVerify(t *testing.T) {
	now := time.Unix(1_795_388_000, 0)
	tokens := newTokens(t)
	token, err := tokens.Mint(roleAuthenticated, "u1", map[string]any{"app_metadata": map[string]any{"n": json.Number("9007199254740993")}}, now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tokens.Verify(token, now)
	if err != nil || c.Role != roleAuthenticated || c.Subject != "u1" || !c.Expires.Equal(now.Add(time.Minute)) {
		t.Errorf("claims %+v, %v", c, err)
	}
	if text, ok := claimText(c.Raw, []string{"app_metadata", "n"}); !ok || text != "9007199254740993" {
		t.Errorf("the number came back as %q", text)
	}
	for _, alg := range []jwt.SigningMethod{jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
		if _, err := tokens.Verify(signWith(t, alg, []byte(DefaultJWTSecret), jwt.MapClaims{"role": "anon", "exp": now.Unix() + 1}), now); err != nil {
			t.Errorf("%s: %v", alg.Alg(), err)
		}
	}
}

func TestKeysOutliveARestart(t *testing.T) {
	a, b := newTokens(t), newTokens(t)
	other, err := NewTokens("another secret")
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]func(*Tokens) string{
		"anon": (*Tokens).AnonKey, "service": (*Tokens).ServiceKey, "publishable": (*Tokens).PublishableKey, "secret": (*Tokens).SecretKey,
	} {
		if key(a) != key(b) || key(a) == key(other) {
			t.Errorf("the %s key must follow from the secret alone", name)
		}
	}
	for key, role := range map[string]string{a.AnonKey(): roleAnon, a.PublishableKey(): roleAnon, a.ServiceKey(): roleService, a.SecretKey(): roleService} {
		c, err := b.Verify(b.Exchange(key), time.Now())
		if err != nil || c.Role != role {
			t.Errorf("key of %s: role %q, %v", role, c.Role, err)
		}
	}
	if _, err := a.Verify(a.Exchange(other.SecretKey()), time.Now()); !errors.Is(err, ErrTokenMalformed) {
		t.Errorf("another project's key: %v", err)
	}
	if _, err := NewTokens(""); err == nil {
		t.Error("an empty secret is taken")
	}
}

func TestSecretsAreNotInErrors(t *testing.T) {
	tokens := newTokens(t)
	token := strings.Replace(tokens.ServiceKey(), ".", ".e30", 1)
	if _, err := tokens.Verify(token, time.Now()); err == nil || strings.Contains(err.Error(), "eyJ") {
		t.Errorf("the error is %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	tokens := newTokens(f)
	f.Add(tokens.AnonKey())
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYW5vbiIsImV4cCI6MX0.")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := tokens.Verify(token, time.Now())
		if err == nil && c.Role != roleAnon && c.Role != roleService {
			t.Fatalf("%q verifies as %+v", token, c)
		}
	})
}
