package tokens

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// Claims is what a verified token says about its bearer.
type Claims = phxserver.Claims

// The roles of the project's own keys.
const (
	roleAnon    = "anon"
	roleService = "service_role"
)

// DefaultJWTSecret is the secret with which local Supabase stacks sign their tokens.
const DefaultJWTSecret = "super-secret-jwt-token-with-at-least-32-characters-long"

// refusal is why a token is refused, in the words of the wire.
type refusal string

func (r refusal) Error() string { return string(r) }

// Kinds of a refused token, to be told apart with errors.Is. Their texts are the ones Realtime
// answers with.
var (
	// ErrTokenMalformed: the text is no JWT.
	ErrTokenMalformed error = refusal("The token provided is not a valid JWT")
	// ErrTokenSigner: the token is signed by an algorithm this project has no key for.
	ErrTokenSigner error = refusal("Failed to generate JWT signer")
	// ErrTokenSignature: the signature is not this project's.
	ErrTokenSignature error = refusal("Failed to validate JWT signature")
	// ErrTokenFields: the claims lack role or exp.
	ErrTokenFields error = refusal("Fields `role` and `exp` are required in JWT")
	// ErrTokenExpiry: exp is there but is no number of seconds.
	ErrTokenExpiry error = refusal("Token expiration time is invalid")
	// ErrTokenExpired: exp has passed. The error that Verify returns says for how long: "Token has
	// expired 12 seconds ago".
	ErrTokenExpired error = refusal("Token has expired")
)

// expiredError is ErrTokenExpired with the time that has passed since.
type expiredError struct{ ago time.Duration }

func (e *expiredError) Error() string {
	return fmt.Sprintf("Token has expired %d seconds ago", int64(e.ago/time.Second))
}

func (e *expiredError) Is(target error) bool { return target == ErrTokenExpired }

// Tokens mints and verifies the JWTs of one project, signed HS256 with one secret, or ES256 once
// RotateKeys has made a key. It is safe for any number of goroutines.
type Tokens struct {
	secret      []byte
	keys        signingKeys
	parser      *jwt.Parser
	anon        string
	service     string
	publishable string
	secretKey   string
}

// keyExpiry is when the project's own keys expire: 2100-01-01. It is fixed so that a restart gives
// the same keys.
var keyExpiry = time.Date(2100, time.January, 1, 0, 0, 0, 0, time.UTC)

// New makes the tokens of a project that signs with the given secret. The project's keys follow
// from the secret alone. It fails if the secret is empty.
func New(secret string) (*Tokens, error) {
	if secret == "" {
		return nil, errors.New("standin: the JWT secret is empty")
	}
	t := &Tokens{
		secret: []byte(secret),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{"HS256", "HS384", "HS512", "ES256"}),
			jwt.WithoutClaimsValidation(),
			jwt.WithJSONNumber(),
		),
	}
	var err error
	if t.anon, err = t.sign(jwt.MapClaims{"iss": "supabase", "role": "anon", "exp": keyExpiry.Unix()}); err != nil {
		return nil, err
	}
	if t.service, err = t.sign(jwt.MapClaims{"iss": "supabase", "role": "service_role",
		"exp": keyExpiry.Unix()}); err != nil {
		return nil, err
	}
	t.publishable = "sb_publishable_" + t.derive("publishable key")
	t.secretKey = "sb_secret_" + t.derive("secret key")
	return t, nil
}

// derive makes a text of 31 characters in the form of a Supabase API key's random part, from the
// secret and a purpose.
func (t *Tokens) derive(purpose string) string {
	sum := t.mac(purpose)
	return base64.RawURLEncoding.EncodeToString(sum[:16]) + "_" + hex.EncodeToString(sum[16:20])
}

func (t *Tokens) mac(text string) []byte {
	h := hmac.New(sha256.New, t.secret)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// RefreshToken is the refresh token of a user. It follows from the secret and the user alone, so it
// never ends and needs no storage.
func (t *Tokens) RefreshToken(user string) string { return t.derive("refresh " + user) }

// Bearer returns the token of an Authorization header.
func Bearer(h http.Header) (token string, ok bool) {
	scheme, token, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// AnonKey is the project's anon key, a JWT.
func (t *Tokens) AnonKey() string { return t.anon }

// ServiceKey is the project's service_role key, a JWT that passes over row security.
func (t *Tokens) ServiceKey() string { return t.service }

// PublishableKey is the newer form of the anon key, sb_publishable_….
func (t *Tokens) PublishableKey() string { return t.publishable }

// SecretKey is the newer form of the service_role key, sb_secret_….
func (t *Tokens) SecretKey() string { return t.secretKey }

// Exchange does what Supabase's gateway does with an API key: the project's sb_publishable_… and
// sb_secret_… keys become the JWTs that stand for them, everything else passes unchanged.
func (t *Tokens) Exchange(key string) string {
	switch key {
	case t.publishable:
		return t.anon
	case t.secretKey:
		return t.service
	}
	return key
}

// Mint signs a token for a role and, if not empty, a user, valid for ttl from now. The claims given
// come on top and win over role, sub, iat and exp. It fails on a claim that JSON can't carry.
func (t *Tokens) Mint(role, subject string, claims map[string]any, now time.Time, ttl time.Duration) (string, error) {
	m := jwt.MapClaims{"iss": "supabase", "role": role, "iat": now.Unix(), "exp": now.Add(ttl).Unix()}
	if subject != "" {
		m["sub"] = subject
	}
	maps.Copy(m, claims)
	if key, ok := t.keys.current(); ok && role != roleAnon && role != roleService {
		token := jwt.NewWithClaims(jwt.SigningMethodES256, m)
		token.Header["kid"] = key.kid
		text, err := token.SignedString(key.secret)
		if err != nil {
			return "", fmt.Errorf("standin: sign a token: %w", err)
		}
		return text, nil
	}
	return t.sign(m)
}

func (t *Tokens) sign(claims jwt.MapClaims) (string, error) {
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(t.secret)
	if err != nil {
		return "", fmt.Errorf("standin: sign a token: %w", err)
	}
	return s, nil
}

// Verify checks a token's signature, then its role and expiry against now, in the order in which
// Realtime does. The error's text is the one Realtime answers with, and errors.Is tells its kind
// (ErrTokenMalformed and the others).
func (t *Tokens) Verify(token string, now time.Time) (Claims, error) {
	claims := jwt.MapClaims{}
	_, err := t.parser.ParseWithClaims(token, claims, func(parsed *jwt.Token) (any, error) {
		if strings.HasPrefix(parsed.Method.Alg(), "HS") {
			return t.secret, nil
		}
		if key, ok := t.keys.public(parsed); ok {
			return key, nil
		}
		return nil, ErrTokenSigner
	})
	switch {
	case err == nil:
	case errors.Is(err, jwt.ErrTokenMalformed):
		return Claims{}, ErrTokenMalformed
	case errors.Is(err, ErrTokenSigner) || t.foreignMethod(token):
		return Claims{}, ErrTokenSigner
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return Claims{}, ErrTokenSignature
	default:
		return Claims{}, ErrTokenMalformed
	}
	role, hasRole := claims["role"].(string)
	exp, hasExp := claims["exp"]
	if !hasRole || !hasExp {
		return Claims{}, ErrTokenFields
	}
	n, ok := exp.(json.Number)
	if !ok {
		return Claims{}, ErrTokenExpiry
	}
	seconds, err := n.Int64()
	if err != nil {
		f, ferr := n.Float64()
		if ferr != nil || f > 1e15 || f < -1e15 {
			return Claims{}, ErrTokenExpiry
		}
		seconds = int64(f)
	}
	expires := time.Unix(seconds, 0)
	if !now.Before(expires) {
		return Claims{}, &expiredError{ago: now.Sub(expires)}
	}
	subject, _ := claims["sub"].(string)
	return Claims{Role: role, Subject: subject, Expires: expires, Raw: claims}, nil
}

// foreignMethod tells whether the token names a signing method other than the HMAC ones.
func (t *Tokens) foreignMethod(token string) bool {
	parsed, _, err := t.parser.ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		return false
	}
	_, known := t.keys.public(parsed)
	return !strings.HasPrefix(parsed.Method.Alg(), "HS") && !known
}
