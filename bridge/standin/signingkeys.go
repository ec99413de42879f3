package standin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

// maxSigningKeys bounds the keys that are published at a time; a rotation drops the oldest beyond.
const maxSigningKeys = 8

// signingKeys are a project's asymmetric signing keys, ES256. A project has none until the first rotation: then tokens are
// signed with its secret.
type signingKeys struct {
	mu   sync.Mutex // guards the rest
	keys []signingKey
}

type signingKey struct {
	kid    string
	secret *ecdsa.PrivateKey
	public map[string]any // as it is published, a JWK
}

// RotateKeys makes a new signing key, publishes it and signs users' tokens with it from now on, as "Rotate keys" does in
// Supabase's dashboard. Tokens of the keys before stay good, as they do there, until RevokeKeys. The project's own keys
// stay signed with its secret. It returns the new key's id.
func (s *Server) RotateKeys() (kid string, err error) { return s.tokens.keys.rotate() }

// RevokeKeys takes back every signing key but the one in use.
func (s *Server) RevokeKeys() {
	k := &s.tokens.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := len(k.keys); n > 1 {
		k.keys = append([]signingKey(nil), k.keys[n-1])
	}
}

func (k *signingKeys) rotate() (kid string, err error) {
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("standin: make a signing key: %w", err)
	}
	point, err := secret.PublicKey.Bytes() // 0x04, X, Y
	if err != nil {
		return "", fmt.Errorf("standin: make a signing key: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString
	kid = strings.ToLower(rand.Text())
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = append(k.keys, signingKey{kid, secret, map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
		"key_ops": []any{"verify"}, "ext": true, "kid": kid, "x": text(point[1:33]), "y": text(point[33:])}})
	if n := len(k.keys); n > maxSigningKeys {
		k.keys = append([]signingKey(nil), k.keys[n-maxSigningKeys:]...)
	}
	return kid, nil
}

// current is the key that signs; ok is false where the secret does.
func (k *signingKeys) current() (key signingKey, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) == 0 {
		return signingKey{}, false
	}
	return k.keys[len(k.keys)-1], true
}

// public gives the key of a token that is signed by one.
func (k *signingKeys) public(token *jwt.Token) (*ecdsa.PublicKey, bool) {
	kid, _ := token.Header["kid"].(string)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if key.kid == kid {
			return &key.secret.PublicKey, true
		}
	}
	return nil, false
}

// serveKeys answers /auth/v1/.well-known/jwks.json.
func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) {
	published := []any{}
	k := &s.tokens.keys
	k.mu.Lock()
	for _, key := range k.keys {
		published = append(published, key.public)
	}
	k.mu.Unlock()
	writeJSON(w, r, http.StatusOK, map[string]any{"keys": published})
}

// rotateKeys answers POST /admin/keys, which rotates; with ?revoke=true the keys before are taken back at once.
func (s *Server) rotateKeys(w http.ResponseWriter, r *http.Request) {
	kid, err := s.RotateKeys()
	if err != nil {
		answerFault(w, http.StatusInternalServerError, map[string]any{"error": err.Error()})
		return
	}
	if r.URL.Query().Get("revoke") == "true" {
		s.RevokeKeys()
	}
	answerFault(w, http.StatusOK, map[string]any{"kid": kid})
}
