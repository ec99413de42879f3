package bridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

const testSecret = "super-secret-jwt-token-with-at-least-32-characters-long"

func newTestVerifier(t *testing.T, change func(*config.Config)) *verifier {
	t.Helper()
	cfg := config.Default()
	cfg.Supabase.JWTSecret = testSecret
	if change != nil {
		change(cfg)
	}
	v, err := newVerifier(t.Context(), always(cfg), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func claims(more jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "u1", "role": "authenticated", "aud": "authenticated", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range more {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

func sign(t *testing.T, method jwt.SigningMethod, key any, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	token.Header["kid"] = "k1"
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestATokenSaysWhoSomebodyIs(t *testing.T) {
	v := newTestVerifier(t, nil)
	who, err := v.verify(sign(t, jwt.SigningMethodHS256, []byte(testSecret), claims(jwt.MapClaims{
		"app_metadata":  map[string]any{"distributor_id": 9007199254740993},
		"user_metadata": map[string]any{"full_name": "Ana", "organization_id": "forged"},
	})))
	if err != nil {
		t.Fatal(err)
	}
	if who.UserID != "u1" || who.Name != "Ana" || who.Tenant != "9007199254740993" || who.Role != "authenticated" || !who.Verified {
		t.Errorf("%+v", who)
	}
}

func TestWhatUsersWriteThemselvesNamesNoTenant(t *testing.T) {
	v := newTestVerifier(t, nil)
	who, err := v.verify(sign(t, jwt.SigningMethodHS256, []byte(testSecret), claims(jwt.MapClaims{
		"user_metadata": map[string]any{"distributor_id": "d1", "organization_id": "d1", "org_id": "d1", "tenant_id": "d1"},
	})))
	if err != nil || who.Tenant != "" {
		t.Errorf("tenant %q (%v), want none", who.Tenant, err)
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	v := newTestVerifier(t, nil)
	secret := []byte(testSecret)
	good := sign(t, jwt.SigningMethodHS256, secret, claims(nil))
	parts := strings.Split(good, ".")
	forged := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"u2","role":"service_role","exp":99999999999}`))
	for name, token := range map[string]string{
		"empty":                "",
		"not a token":          "abc",
		"expired":              sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()})),
		"without an end":       sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"exp": nil})),
		"not valid yet":        sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"nbf": time.Now().Add(time.Minute).Unix()})),
		"another secret":       sign(t, jwt.SigningMethodHS256, []byte("another"), claims(nil)),
		"another algorithm":    sign(t, jwt.SigningMethodHS512, secret, claims(nil)),
		"no algorithm":         sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil)),
		"another audience":     sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"aud": "others"})),
		"no audience":          sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"aud": nil})),
		"the anonymous key":    sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"sub": nil, "role": "anon", "aud": "authenticated"})),
		"payload was replaced": parts[0] + "." + forged + "." + parts[2],
	} {
		who, err := v.verify(token)
		if err == nil {
			t.Errorf("%s: accepted as %+v", name, who)
		} else if token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
	if _, err := v.verify(good); err != nil {
		t.Errorf("the good token: %v", err)
	}
}

func TestPublishedKeysVerifyTheirOwnAlgorithmOnly(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uncompressed, err := key.PublicKey.Bytes() // 0x04, X, Y
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{
			"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k1", "use": "sig", "x": b64(uncompressed[1:33]), "y": b64(uncompressed[33:])}}})
	}))
	defer keys.Close()
	v := newTestVerifier(t, func(cfg *config.Config) { cfg.Supabase.JWTSecret, cfg.Supabase.JWKSURL = "", keys.URL })
	if who, err := v.verify(sign(t, jwt.SigningMethodES256, key, claims(nil))); err != nil || who.UserID != "u1" {
		t.Errorf("signed with the published key's half: %v", err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for name, secret := range map[string][]byte{"PEM": public, "DER": der, "point": uncompressed, "empty": {}} {
		if _, err := v.verify(sign(t, jwt.SigningMethodHS256, secret, claims(nil))); err == nil {
			t.Errorf("a token signed by HMAC with the public key (%s) was accepted", name)
		}
	}
}

func TestCredentialsAreTakenInTheConfiguredOrder(t *testing.T) {
	h := &socketio.Handshake{
		Auth:   json.RawMessage(`{"token":"from-auth","other":5}`),
		Query:  map[string]string{"token": "from-query"},
		Header: http.Header{"Authorization": {"Bearer from-header"}, "Cookie": {"sb=from-cookie"}},
	}
	for _, test := range []struct {
		places []string
		want   string
	}{
		{[]string{"auth.token", "header.authorization"}, "from-auth"},
		{[]string{"header.authorization", "auth.token"}, "from-header"},
		{[]string{"auth.absent", "query.token"}, "from-query"},
		{[]string{"cookie.sb"}, "from-cookie"},
		{[]string{"auth.absent", "header.x-absent", "query.absent", "cookie.absent"}, ""},
		{nil, ""},
	} {
		if got, ok := credential(test.places, h); got != test.want || ok != (test.want != "") {
			t.Errorf("%v: %q %v, want %q", test.places, got, ok, test.want)
		}
	}
}

func TestAKeyThatIsRotatedIsFoundAndMadeUpOnesAreNotAskedForWithoutEnd(t *testing.T) {
	keys := map[string]*ecdsa.PrivateKey{}
	for _, kid := range []string{"k1", "k2"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[kid] = key
	}
	var published atomic.Value // the kid of the key that is published
	var asked atomic.Int32
	published.Store("k1")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		kid := published.Load().(string)
		point, err := keys[kid].PublicKey.Bytes()
		if err != nil {
			t.Error(err)
		}
		b64 := base64.RawURLEncoding.EncodeToString
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{
			"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": kid, "use": "sig", "x": b64(point[1:33]), "y": b64(point[33:])}}})
	}))
	defer server.Close()
	v := newTestVerifier(t, func(cfg *config.Config) { cfg.Supabase.JWTSecret, cfg.Supabase.JWKSURL = "", server.URL })
	token := func(kid, signer string) string {
		tok := jwt.NewWithClaims(jwt.SigningMethodES256, claims(nil))
		tok.Header["kid"] = kid
		text, err := tok.SignedString(keys[signer])
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if _, err := v.verify(token("k1", "k1")); err != nil {
		t.Fatalf("the published key: %v", err)
	}
	published.Store("k2")
	if _, err := v.verify(token("k2", "k2")); err != nil {
		t.Errorf("the key after a rotation: %v", err)
	}
	before := asked.Load()
	for range 50 {
		if _, err := v.verify(token("made-up", "k2")); err == nil {
			t.Fatal("a token of an unknown key was accepted")
		}
	}
	if n := asked.Load() - before; n > 1 {
		t.Errorf("50 made-up keys were asked for %d times", n)
	}
}
