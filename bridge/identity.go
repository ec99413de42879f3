package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

// errNoToken: the client sent no token at any of the configured places.
var errNoToken = errors.New("no token")

// verifier checks Supabase tokens: HS256 with the project's secret, ES256 and RS256 with the keys
// the project publishes. The algorithm a key serves is fixed by where the key comes from, so that a
// public key never serves as an HMAC secret. It is safe for concurrent use.
type verifier struct {
	cfg    func() *config.Config
	secret []byte
	keys   *publishedKeys
	algs   []string // that there are keys for
}

// newVerifier makes the verifier for a project. Its published keys are read at once only where
// there is no secret: beside one nobody may need them, so they are first asked for when a token
// comes that is signed by one. A project whose keys can't be read yet is no error: they are asked
// for again.
func newVerifier(ctx context.Context, current func() *config.Config, log zerolog.Logger) (*verifier, error) {
	cfg := current()
	v := &verifier{cfg: current, secret: []byte(cfg.Supabase.JWTSecret.Reveal())}
	address := cmp.Or(cfg.Supabase.JWKSURL, strings.TrimRight(cfg.Supabase.URL, "/")+"/auth/v1/.well-known/jwks.json")
	var err error
	if v.keys, err = newPublishedKeys(ctx, address, cfg.Supabase.RequestTimeout, log); err != nil {
		return nil, err
	}
	v.algs = []string{"ES256", "RS256"}
	if len(v.secret) > 0 {
		v.algs = append(v.algs, "HS256")
	} else {
		_, _ = v.keys.read() // what fails is logged, and tried again
	}
	return v, nil
}

func (v *verifier) key(token *jwt.Token) (any, error) {
	if token.Method.Alg() == "HS256" {
		return v.secret, nil
	}
	return v.keys.key(token)
}

// verify reads a token. Errors wrap jwt's and never contain the token.
func (v *verifier) verify(token string) (*auth.Identity, error) {
	claims := jwt.MapClaims{}
	settings := v.cfg().Auth
	parser := jwt.NewParser(
		jwt.WithValidMethods(v.algs),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(settings.Leeway),
		jwt.WithJSONNumber(),
	)
	if _, err := parser.ParseWithClaims(token, claims, v.key); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	role, _ := claims["role"].(string)
	if settings.Audience != "" && role != auth.ServiceRole {
		audience := jwt.NewValidator(jwt.WithAudience(settings.Audience))
		if err := audience.Validate(jwt.MapClaims{"aud": claims["aud"]}); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
	}
	if issuer, _ := claims["iss"].(string); len(settings.Issuers) > 0 && role != auth.ServiceRole &&
		!slices.Contains(settings.Issuers, issuer) {
		return nil, fmt.Errorf("token: %w", jwt.ErrTokenInvalidIssuer)
	}
	expires, err := claims.GetExpirationTime()
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	id := &auth.Identity{Role: role, Token: token, Expires: expires.Time, Leeway: settings.Leeway, Verified: true}
	id.UserID, _ = claims["sub"].(string)
	if id.UserID == "" && role != auth.ServiceRole {
		return nil, fmt.Errorf("token: no subject: it is not a signed-in user's")
	}
	for _, path := range settings.TenantClaims {
		if id.Tenant = auth.ClaimText(claims, path); id.Tenant != "" {
			break
		}
	}
	for _, path := range []string{"user_metadata.full_name", "user_metadata.name", "name", "email"} {
		if id.Name = auth.ClaimText(claims, path); id.Name != "" {
			break
		}
	}
	return id, nil
}

// identify tells who a connecting client is. Under insecure_dev a client without a token is taken
// at its word; a token that is there is checked all the same.
func (b *Bridge) identify(h *socketio.Handshake) (*auth.Identity, error) {
	places := auth.NewCredentials(b.cfg().Auth.Credentials, b.cfg().Supabase.URL)
	if token, ok := places.Find(h); ok {
		return b.verifier.verify(token)
	}
	switch {
	case b.cfg().Auth.InsecureDev:
	case places.Later():
		return &auth.Identity{Pending: true}, nil
	default:
		return nil, errNoToken
	}
	id := &auth.Identity{UserID: firstText(h, "userId", "user_id"), Name: firstText(h, "userName", "user_name", "name")}
	id.Tenant = firstText(h, b.words().TenantKey(), "distributorId", "organizationId", "tenantId")
	return id, nil
}

// firstText reads the first of names that the handshake's auth object or query has.
func firstText(h *socketio.Handshake, names ...string) string {
	for _, name := range names {
		if value := auth.Text(h.Auth, name); value != "" {
			return value
		}
		if value := h.Query[name]; value != "" {
			return value
		}
	}
	return ""
}
