package bridge

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

// The reasons for which a client is refused, as it finds them in data.code.
const (
	refusedNoToken      = "no_token"
	refusedExpired      = "token_expired"
	refusedUnauthorized = "unauthorized"
	refusedTooMany      = "too_many_connections"
	refusedUnavailable  = "unavailable" // it could not be found out
)

// errTooMany: the user has as many connections as one may have.
var errTooMany = errors.New("too many connections of one user")

// reasonOf gives the reason for which a token, or the lack of one, is refused.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, errNoToken):
		return refusedNoToken
	case errors.Is(err, jwt.ErrTokenExpired):
		return refusedExpired
	case errors.Is(err, errTooMany):
		return refusedTooMany
	case errors.Is(err, errKeysAway):
		return refusedUnavailable
	}
	return refusedUnauthorized
}

// passes reports whether a reason passes by itself, so that the client is to come again.
func passes(reason string) bool { return reason == refusedTooMany || reason == refusedUnavailable }

// retryLeast and retryMost bound how long a client waits before it may come again: its connection
// is held so long, and then closed. It bounds what such clients cost, since socket.io-client begins
// its own back-off anew each time.
const (
	retryLeast = 2 * time.Second
	retryMost  = 5 * time.Second
)

func retryAfter() time.Duration { return retryLeast + rand.N(retryMost-retryLeast) }

// refusal is the text a client gets for a reason; frontends compare it.
func (b *Bridge) refusal(reason string) string {
	for _, m := range b.cfg().Auth.RefuseMessages {
		if code, text, _ := strings.Cut(m, "="); code == reason {
			return text
		}
	}
	switch reason { // a new token, for which frontends take the other text, would not help
	case refusedTooMany:
		return "Too many connections"
	case refusedUnavailable:
		return "Try again later"
	}
	return b.cfg().Auth.RefuseMessage
}

// await begins the time in which a client that brought no token has to send one. Until then it
// hears nothing, and all else it asks for is refused.
func (c *client) await() {
	c.expiry = auth.NewExpiry(time.Time{}, c.warn, c.expire)
	c.socket.Join(emit.WaitingRoom)
	c.deadline = time.AfterFunc(c.b.cfg().Auth.AuthenticateWithin, func() {
		c.b.metrics.refused.WithLabelValues(refusedNoToken).Inc()
		c.b.log.Info().Str("socket", c.socket.ID()).Msg("no token came in time")
		_ = c.socket.Emit("unauthorized", c.b.unauthorized(refusedNoToken)) // to a socket that is going already, nothing
		c.socket.Disconnect(true)
	})
}

func (b *Bridge) unauthorized(reason string) json.RawMessage {
	return object("message", b.refusal(reason), "code", reason)
}

// announced are the events, by the one that brings a token, that tell a frontend how that went.
// Frontends that send others look at the acknowledgement.
var announced = map[string]struct{ taken, refused string }{
	"authenticate":  {"authenticated", "unauthorized"},
	"token:refresh": {"token:refresh:success", "token:refresh:error"},
}

// takeToken takes a token that a client sends: its first, where it connected without one, else a
// new one of the same user, so that the connection outlives the one before.
func (c *client) takeToken(e *socketio.Event) {
	who, err := c.b.verifier.verify(tokenOf(e.Args))
	switch {
	case err != nil:
		c.refuseToken(e, reasonOf(err), err)
	case c.who.Pending:
		seat, err := c.b.guard.seat(who.UserID)
		if err != nil {
			c.refuseToken(e, refusedTooMany, err)
			return
		}
		if !c.deadline.Stop() {
			c.b.guard.users.Leave(who.UserID)
			c.refuseToken(e, refusedNoToken, errors.New("it came too late"))
			return
		}
		c.socket.Leave(emit.WaitingRoom)
		c.become(who)
		c.user.Store(seat)
		c.socket.Unrestrict()
		c.arrive()
		c.b.rechecker.Watch(c) // as a socket of this user
		c.tookToken(e)
	case !c.who.Verified || who.UserID != c.who.UserID:
		c.refuseToken(e, refusedUnauthorized, errors.New("it is not the same user's"))
	default:
		if who.Token != c.who.Token {
			c.become(who)
			c.claimHome()
			c.expiry.Renew(who.Ends())
			c.b.rechecker.Recheck(c)
		}
		c.tookToken(e)
	}
}

// become makes the client the one that a token says it is.
func (c *client) become(who *auth.Identity) {
	c.who = who
	c.identity.Store(who)
}

func (c *client) tookToken(e *socketio.Event) {
	expires := c.who.Expires.UTC().Format(time.RFC3339)
	if names, ok := announced[e.Name]; ok {
		_ = c.socket.Emit(
			names.taken,
			object("success", true, "userId", c.who.UserID, "expiresAt", expires),
		) // to a socket that is going already, nothing
	}
	c.succeed(e, "expiresAt", expires)
}

func (c *client) refuseToken(e *socketio.Event, reason string, err error) {
	c.b.log.Info().Err(err).Str("socket", c.socket.ID()).Str("user", c.who.UserID).Msg("a token was refused")
	names, ok := announced[e.Name]
	if ok {
		_ = c.socket.Emit(names.refused, c.b.unauthorized(reason)) // to a socket that is going already, nothing
	}
	if !ok || e.WantsAck() {
		f := failure{reason, "the token was refused"}
		switch reason {
		case refusedTooMany:
			f = failUserFull
		case refusedUnavailable:
			f = failUnavailable
		}
		c.fail(e, f)
	}
	if c.who.Pending && passes(reason) {
		time.AfterFunc(retryAfter(), func() {
			if c.identity.Load().Pending {
				c.socket.CloseConnection() // it comes back, and brings its token anew
			}
		})
	}
}

// tokenOf finds a token: a field of the first argument, or that argument itself.
func tokenOf(args []json.RawMessage) string {
	var token string
	for _, name := range []string{"access_token", "token", "accessToken"} {
		if raw, ok := vocabulary.Field(args, name); ok && json.Unmarshal(raw, &token) == nil && token != "" {
			break
		}
	}
	if token == "" && len(args) > 0 {
		_ = json.Unmarshal(args[0], &token) // anything but a string is no token
	}
	return strings.TrimPrefix(token, "Bearer ")
}
