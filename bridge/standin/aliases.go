package standin

import "github.com/supabridge/supabridge/bridge/standin/tokens"

// Names of the parts, for callers of a Server.
type (
	// Claims is what a verified token says about its bearer.
	Claims = tokens.Claims
	// Tokens mints and verifies the JWTs of one project.
	Tokens = tokens.Tokens
)

// DefaultJWTSecret is the secret with which local Supabase stacks sign their tokens.
const DefaultJWTSecret = tokens.DefaultJWTSecret

// Kinds of a refused token, to be told apart with errors.Is. Package tokens describes them.
var (
	ErrTokenMalformed = tokens.ErrTokenMalformed
	ErrTokenSigner    = tokens.ErrTokenSigner
	ErrTokenSignature = tokens.ErrTokenSignature
	ErrTokenFields    = tokens.ErrTokenFields
	ErrTokenExpiry    = tokens.ErrTokenExpiry
	ErrTokenExpired   = tokens.ErrTokenExpired
)

// NewTokens makes the tokens of a project that signs with the given secret; see [tokens.New].
func NewTokens(secret string) (*Tokens, error) { return tokens.New(secret) }
