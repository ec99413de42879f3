package bridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
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

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/config"
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
	return signAs(t, method, key, "k1", c)
}

func TestATokenSaysWhoSomebodyIs(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
	v := newTestVerifier(t, nil)
	who, err := v.verify(sign(t, jwt.SigningMethodHS256, []byte(testSecret), claims(jwt.MapClaims{
		"user_metadata": map[string]any{"distributor_id": "d1", "organization_id": "d1", "org_id": "d1", "tenant_id": "d1"},
	})))
	if err != nil || who.Tenant != "" {
		t.Errorf("tenant %q (%v), want none", who.Tenant, err)
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
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
		"audiences of others":  sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"aud": []string{"others", "more"}})),
		"an end that is none":  sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"exp": "tomorrow"})),
		"a subject of no text": sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"sub": 5})),
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
	for name, token := range map[string]string{
		"the good one":                 good,
		"an audience among several":    sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"aud": []string{"others", "authenticated"}})),
		"expired within the leeway":    sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"exp": time.Now().Add(-5 * time.Second).Unix()})),
		"valid from a moment on":       sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"nbf": time.Now().Add(5 * time.Second).Unix()})),
		"the project's own key":        sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"role": auth.ServiceRole, "sub": nil, "aud": nil})),
		"any issuer where none is set": sign(t, jwt.SigningMethodHS256, secret, claims(jwt.MapClaims{"iss": "https://elsewhere.example.com"})),
	} {
		if _, err := v.verify(token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysThatAreTooManyAreNotRead(t *testing.T) {
	t.Parallel()
	key, jwk := ellipticKey(t, "k1")
	address, _ := publishKeys(t, func() []map[string]any { return []map[string]any{{"kty": strings.Repeat("x", maxKeys)}, jwk} })
	v := newTestVerifier(t, func(cfg *config.Config) { cfg.Supabase.JWKSURL = address })
	if _, err := v.verify(signAs(t, jwt.SigningMethodES256, key, "k1", claims(nil))); err == nil {
		t.Error("a key was found behind more than is read")
	}
}

// publishKeys serves keys as a project does and counts how often it is asked.
func publishKeys(t *testing.T, keys func() []map[string]any) (address string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys()})
	}))
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return server.URL, asked
}

// ellipticKey makes a key and its public half as a project publishes it.
func ellipticKey(t *testing.T, kid string) (key *ecdsa.PrivateKey, jwk map[string]any) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes() // 0x04, X, Y
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return key, map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": kid, "use": "sig", "x": b64(point[1:33]), "y": b64(point[33:])}
}

// signAs signs claims by a key that goes by a name; "" names none.
func signAs(t *testing.T, method jwt.SigningMethod, key any, kid string, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAKeyServesItsOwnAlgorithmOnly(t *testing.T) {
	t.Parallel()
	key, jwk := ellipticKey(t, "k1")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	rsaJWK := map[string]any{"kty": "RSA", "alg": "RS256", "kid": "r1", "use": "sig", "n": b64(rsaKey.N.Bytes()), "e": "AQAB"}
	shared := []byte("a symmetric key that is published by mistake")
	oct := map[string]any{"kty": "oct", "alg": "HS256", "kid": "o1", "use": "sig", "k": b64(shared)}
	address, _ := publishKeys(t, func() []map[string]any { return []map[string]any{jwk, rsaJWK, oct} })
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := ellipticKey(t, "k1")
	for name, secret := range map[string]config.Secret{"without a secret": "", "beside a secret": testSecret} {
		v := newTestVerifier(t, func(cfg *config.Config) { cfg.Supabase.JWTSecret, cfg.Supabase.JWKSURL = secret, address })
		good := map[string]string{
			"ES256":               signAs(t, jwt.SigningMethodES256, key, "k1", claims(nil)),
			"RS256":               signAs(t, jwt.SigningMethodRS256, rsaKey, "r1", claims(nil)),
			"ES256 without a kid": signAs(t, jwt.SigningMethodES256, key, "", claims(nil)),
		}
		if secret != "" {
			good["HS256"] = signAs(t, jwt.SigningMethodHS256, []byte(testSecret), "", claims(nil))
			good["HS256 with the kid of another"] = signAs(t, jwt.SigningMethodHS256, []byte(testSecret), "k1", claims(nil))
		}
		for what, token := range good {
			if who, err := v.verify(token); err != nil || who.UserID != "u1" {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		for what, token := range map[string]string{
			"HS256 with the public key, PEM":    signAs(t, jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), "k1", claims(nil)),
			"HS256 with the public key, DER":    signAs(t, jwt.SigningMethodHS256, public, "k1", claims(nil)),
			"HS256 with the public key's point": signAs(t, jwt.SigningMethodHS256, point, "k1", claims(nil)),
			"HS256 with an empty secret":        signAs(t, jwt.SigningMethodHS256, []byte{}, "", claims(nil)),
			"HS256 with a published oct key":    signAs(t, jwt.SigningMethodHS256, shared, "o1", claims(nil)),
			"RS256 by the EC key's name":        signAs(t, jwt.SigningMethodRS256, rsaKey, "k1", claims(nil)),
			"RS512 by the RSA key":              signAs(t, jwt.SigningMethodRS512, rsaKey, "r1", claims(nil)),
			"PS256 by the RSA key":              signAs(t, jwt.SigningMethodPS256, rsaKey, "r1", claims(nil)),
			"ES256 by the RSA key's name":       signAs(t, jwt.SigningMethodES256, key, "r1", claims(nil)),
			"ES256 by the oct key's name":       signAs(t, jwt.SigningMethodES256, key, "o1", claims(nil)),
			"ES256 by another key of that name": signAs(t, jwt.SigningMethodES256, foreign, "k1", claims(nil)),
			"none":                              signAs(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "k1", claims(nil)),
		} {
			if who, err := v.verify(token); err == nil {
				t.Errorf("%s: %s was accepted as %+v", name, what, who)
			}
		}
	}
}

func TestAProjectThatMovedToPublishedKeysKeepsItsSecret(t *testing.T) {
	t.Parallel()
	key, jwk := ellipticKey(t, "k1")
	address, asked := publishKeys(t, func() []map[string]any { return []map[string]any{jwk} })
	v := newTestVerifier(t, func(cfg *config.Config) { cfg.Supabase.JWKSURL = address })
	old := signAs(t, jwt.SigningMethodHS256, []byte(testSecret), "", claims(nil))
	if _, err := v.verify(old); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the keys were asked for %d times before a token needed them", n)
	}
	for what, token := range map[string]string{"of before": old, "of after": signAs(t, jwt.SigningMethodES256, key, "k1", claims(nil))} {
		if _, err := v.verify(token); err != nil {
			t.Errorf("a token %s: %v", what, err)
		}
	}
	before := asked.Load()
	forger, _ := ellipticKey(t, "k1")
	for range 50 {
		for _, kid := range []string{"k1", "made-up"} {
			if _, err := v.verify(signAs(t, jwt.SigningMethodES256, forger, kid, claims(nil))); err == nil {
				t.Fatal("a forged token was accepted")
			}
		}
	}
	if n := asked.Load() - before; n > 1 {
		t.Errorf("100 forged tokens had the keys asked for %d times", n)
	}
}

func TestTheIssuerIsHeldToWhatIsConfigured(t *testing.T) {
	t.Parallel()
	const ours = "https://x.supabase.co/auth/v1"
	v := newTestVerifier(t, func(cfg *config.Config) { cfg.Auth.Issuers = []string{"https://old.example.com", ours} })
	for issuer, want := range map[any]bool{ours: true, "https://old.example.com": true, "https://y.supabase.co/auth/v1": false, "": false, nil: false, 5: false} {
		if _, err := v.verify(sign(t, jwt.SigningMethodHS256, []byte(testSecret), claims(jwt.MapClaims{"iss": issuer}))); (err == nil) != want {
			t.Errorf("iss %v: %v, want it accepted: %v", issuer, err, want)
		}
	}
	service := claims(jwt.MapClaims{"iss": "supabase", "role": auth.ServiceRole, "sub": nil, "aud": nil})
	if _, err := v.verify(sign(t, jwt.SigningMethodHS256, []byte(testSecret), service)); err != nil {
		t.Errorf("the project's own key: %v", err)
	}
}

func TestARefusalSaysWhy(t *testing.T) {
	t.Parallel()
	v := newTestVerifier(t, nil)
	for want, token := range map[string]string{
		refusedExpired:      sign(t, jwt.SigningMethodHS256, []byte(testSecret), claims(jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()})),
		refusedUnauthorized: sign(t, jwt.SigningMethodHS256, []byte("another"), claims(jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()})),
	} {
		if _, err := v.verify(token); reasonOf(err) != want {
			t.Errorf("reason %s of %v, want %s", reasonOf(err), err, want)
		}
	}
}

func TestAKeyThatIsRotatedIsFoundAndMadeUpOnesAreNotAskedForWithoutEnd(t *testing.T) {
	t.Parallel()
	keys, jwks := map[string]*ecdsa.PrivateKey{}, map[string]map[string]any{}
	for _, kid := range []string{"k1", "k2"} {
		keys[kid], jwks[kid] = ellipticKey(t, kid)
	}
	var published atomic.Value // the kid of the key that is published
	published.Store("k1")
	address, asked := publishKeys(t, func() []map[string]any { return []map[string]any{jwks[published.Load().(string)]} })
	v := newTestVerifier(t, func(cfg *config.Config) { cfg.Supabase.JWTSecret, cfg.Supabase.JWKSURL = "", address })
	token := func(kid, signer string) string {
		return signAs(t, jwt.SigningMethodES256, keys[signer], kid, claims(nil))
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
