package tokens

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

// maxSigningKeys bounds the keys that are published at a time; a rotation drops the oldest beyond.
const maxSigningKeys = 8

// signingKeys are a project's asymmetric signing keys, ES256. A project has none until the first
// rotation: then tokens are signed with its secret.
type signingKeys struct {
	mu   sync.Mutex // guards the rest
	keys []signingKey
}

type signingKey struct {
	kid    string
	secret *ecdsa.PrivateKey
	public map[string]any // as it is published, a JWK
}

// RotateKeys makes a new signing key, publishes it and signs users' tokens with it from now on.
// Tokens of the keys before stay good until RevokeKeys. It returns the new key's id.
func (t *Tokens) RotateKeys() (kid string, err error) { return t.keys.rotate() }

// RevokeKeys takes back every signing key but the one in use.
func (t *Tokens) RevokeKeys() {
	k := &t.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := len(k.keys); n > 1 {
		k.keys = append([]signingKey(nil), k.keys[n-1])
	}
}

// PublishedKeys are the signing keys as JWKs, the oldest first. They are never written to.
func (t *Tokens) PublishedKeys() []any {
	published := []any{}
	k := &t.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		published = append(published, key.public)
	}
	return published
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
	k.keys = append(
		k.keys,
		signingKey{kid, secret, map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
			"key_ops": []any{"verify"}, "ext": true, "kid": kid, "x": text(point[1:33]), "y": text(point[33:])}},
	)
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
