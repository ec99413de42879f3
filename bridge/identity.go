package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

// Identity is who a socket belongs to. It is what a Supabase token says and never what a payload says, except that under auth.insecure_dev a
// socket without a token is whom its payload names (Verified false).
type Identity struct {
	UserID string
	// Name is for display only: user_metadata, which users write themselves, may give it.
	Name string
	Role string
	// Tenant is what the configured claims name; empty where they name none.
	Tenant   string
	Token    string
	Expires  time.Time
	Verified bool
	// Pending: the client is connected and has yet to say who it is, by an event (auth.credentials).
	Pending bool

	leeway time.Duration // by which the token was verified
}

// ends is the instant from which on the token is refused, and at which a connection by it ends: its expiry and auth.leeway.
func (id *Identity) ends() time.Time {
	if id.Expires.IsZero() {
		return id.Expires
	}
	return id.Expires.Add(id.leeway)
}

// errNoToken: the client sent no token at any of the configured places.
var errNoToken = errors.New("no token")

// verifier checks Supabase tokens: HS256 with the project's secret, ES256 and RS256 with the keys the project publishes. The algorithm a key serves
// is fixed by where the key comes from, so that a public key never serves as an HMAC secret. It is safe for concurrent use.
type verifier struct {
	cfg    func() *config.Config
	secret []byte
	keys   *publishedKeys
	algs   []string // that there are keys for
}

// newVerifier makes the verifier for a project. Its published keys are read at once only where there is no secret: beside one nobody may need them, so they are
// first asked for when a token comes that is signed by one. A project whose keys can't be read yet is no error: they are asked for again.
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
func (v *verifier) verify(token string) (*Identity, error) {
	claims := jwt.MapClaims{}
	auth := v.cfg().Auth
	parser := jwt.NewParser(jwt.WithValidMethods(v.algs), jwt.WithExpirationRequired(), jwt.WithLeeway(auth.Leeway), jwt.WithJSONNumber())
	if _, err := parser.ParseWithClaims(token, claims, v.key); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	role, _ := claims["role"].(string)
	if auth.Audience != "" && role != serviceRole {
		if err := jwt.NewValidator(jwt.WithAudience(auth.Audience)).Validate(jwt.MapClaims{"aud": claims["aud"]}); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
	}
	if issuer, _ := claims["iss"].(string); len(auth.Issuers) > 0 && role != serviceRole && !slices.Contains(auth.Issuers, issuer) {
		return nil, fmt.Errorf("token: %w", jwt.ErrTokenInvalidIssuer)
	}
	expires, err := claims.GetExpirationTime()
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	id := &Identity{Role: role, Token: token, Expires: expires.Time, Verified: true, leeway: auth.Leeway}
	id.UserID, _ = claims["sub"].(string)
	if id.UserID == "" && role != serviceRole {
		return nil, fmt.Errorf("token: no subject: it is not a signed-in user's")
	}
	for _, path := range auth.TenantClaims {
		if id.Tenant = claimText(claims, path); id.Tenant != "" {
			break
		}
	}
	for _, path := range []string{"user_metadata.full_name", "user_metadata.name", "name", "email"} {
		if id.Name = claimText(claims, path); id.Name != "" {
			break
		}
	}
	return id, nil
}

// serviceRole is the role of the project's own key: it passes Row Level Security everywhere.
const serviceRole = "service_role"

// claimAt follows a dotted path; nil where it leads nowhere.
func claimAt(claims map[string]any, path string) any {
	var at any = claims
	for step := range strings.SplitSeq(path, ".") {
		object, ok := asObject(at)
		if !ok {
			return nil
		}
		at = object[step]
	}
	return at
}

// claimText gives the string or number at a path.
func claimText(claims map[string]any, path string) string {
	return scalarText(claimAt(claims, path))
}

// claimTexts gives the string or number at a path, or those in the list that is there.
func claimTexts(claims map[string]any, path string) []string {
	at := claimAt(claims, path)
	members, ok := at.([]any)
	if !ok {
		members = []any{at}
	}
	var texts []string
	for _, member := range members {
		if text := scalarText(member); text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

func scalarText(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	}
	return ""
}

func asObject(value any) (map[string]any, bool) {
	switch o := value.(type) {
	case map[string]any:
		return o, true
	case jwt.MapClaims:
		return o, true
	}
	return nil, false
}

// identify tells who a connecting client is. Under insecure_dev a client without a token is taken at its word; a token that is there is checked all the same.
func (b *Bridge) identify(h *socketio.Handshake) (*Identity, error) {
	places := newCredentials(b.cfg())
	if token, ok := places.find(h); ok {
		return b.verifier.verify(token)
	}
	switch {
	case b.cfg().Auth.InsecureDev:
	case places.later:
		return &Identity{Pending: true}, nil
	default:
		return nil, errNoToken
	}
	id := &Identity{UserID: firstText(h, "userId", "user_id"), Name: firstText(h, "userName", "user_name", "name")}
	id.Tenant = firstText(h, b.words().TenantKey(), "distributorId", "organizationId", "tenantId")
	return id, nil
}

// firstText reads the first of names that the handshake's auth object or query has.
func firstText(h *socketio.Handshake, names ...string) string {
	for _, name := range names {
		if value := authText(h.Auth, name); value != "" {
			return value
		}
		if value := h.Query[name]; value != "" {
			return value
		}
	}
	return ""
}
