package standin

import (
	"github.com/supabridge/supabridge/bridge/standin/realtime"
	"github.com/supabridge/supabridge/bridge/standin/sql"
	"github.com/supabridge/supabridge/bridge/standin/tokens"
)

// Names of the parts, for callers of a Server.
type (
	// Claims is what a verified token says about its bearer.
	Claims = tokens.Claims
	// Tokens mints and verifies the JWTs of one project.
	Tokens = tokens.Tokens
	// DB holds the tables.
	DB = sql.DB
	// Tx is one transaction, of [DB.Tx].
	Tx = sql.Tx
	// Change is what one row of a committed transaction became, or the truncation of a table.
	Change = sql.Change
	// Column is a column's name and its type.
	Column = sql.Column
	// TableInfo describes a table.
	TableInfo = sql.TableInfo
	// Limits bound what the tables hold.
	Limits = sql.Limits
	// Error is an error with a code of Postgres, PostgREST or the stand-in.
	Error = sql.Error
	// RealtimeOptions adjust the stand-in's Realtime.
	RealtimeOptions = realtime.Options
	// TopicPolicy is a policy on realtime.messages.
	TopicPolicy = realtime.TopicPolicy
)

// Kinds of a Change.
const (
	Insert   = sql.Insert
	Update   = sql.Update
	Delete   = sql.Delete
	Truncate = sql.Truncate
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
