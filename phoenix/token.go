package phoenix

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

const (
	tokenMargin    = 30 * time.Second // a token with less life left is not worth a join
	renewalMargin  = time.Minute      // renew at least this long before the end
	renewalRetry   = time.Second      // least wait between attempts to renew
	renewalPercent = 80               // of the token's life
)

// tokenState is a channel's token. Owned by the loop.
type tokenState struct {
	value   string
	since   time.Time // when it came from the source
	expires time.Time // zero when it says nothing about that
	refused string    // the last value that the server refused
	asking  *question // in flight, nil without one
	stop    context.CancelFunc
	renewal *alarm
}

// question is one call of the token source.
type question struct{ answered []func(error) }

// askToken asks the token source and runs then on the loop with the outcome. When
// a question is in flight already, its answer is everybody's.
func (ch *channel) askToken(then func(error)) {
	t := &ch.token
	if t.asking != nil {
		t.asking.answered = append(t.asking.answered, then)
		return
	}
	q := &question{answered: []func(error){then}}
	t.asking = q
	ctx, cancel := context.WithTimeout(ch.c.ctx, ch.opts.JoinTimeout)
	t.stop = cancel
	ch.c.wg.Go(func() {
		defer cancel()
		value, err := ch.opts.Token(ctx)
		ch.c.post(func() {
			t.asking, t.stop = nil, nil
			if ch.stage == StageLeaving || ch.stage == StageClosed {
				err = ErrClosed
			}
			if err == nil {
				err = ch.takeToken(value)
			}
			for _, f := range q.answered {
				f(err)
			}
			ch.tryJoin()
		})
	})
}

func (ch *channel) takeToken(value string) error {
	if value == "" {
		return ErrNoToken
	}
	if opaque(value) {
		if value != ch.c.opts.APIKey {
			return ErrOpaqueToken
		}
		value = "" // the connection has it already, and a join can't carry it
	}
	now := ch.c.now()
	expires := expiry(value)
	if !expires.IsZero() && expires.Sub(now) < tokenMargin {
		return ErrTokenExpired
	}
	if value != ch.token.value {
		ch.token.value, ch.token.since, ch.token.expires = value, now, expires
	}
	return nil
}

// tokenError is a failure of the token source. The class of an *Error it returned is kept.
func tokenError(topic string, err error) *Error {
	e := &Error{Op: OpToken, Topic: topic, Err: err}
	if errors.Is(err, ErrTokenExpired) || errors.Is(err, ErrNoToken) || errors.Is(err, ErrOpaqueToken) {
		e.Class = Token
	}
	var own *Error
	if errors.As(err, &own) {
		e.Class = own.Class
	}
	return e
}

// opaque reports whether a key is of the newer kind, sb_secret_… or sb_publishable_….
// Only Supabase's gateway can read it, in the header or parameter apikey.
func opaque(key string) bool { return strings.HasPrefix(key, "sb_") }

// expiry is the exp claim of a JWT, not verified; zero when there is none.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	body, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp json.Number `json:"exp"`
	}
	if json.Unmarshal(body, &claims) != nil {
		return time.Time{}
	}
	exp, err := claims.Exp.Float64()
	if err != nil || exp <= 0 || exp > 1e12 {
		return time.Time{}
	}
	return time.Unix(int64(exp), 0)
}

// renewalDelay is how long from now a token that came at since is to be renewed.
func renewalDelay(since, expires, now time.Time) time.Duration {
	life := expires.Sub(since)
	at := since.Add(life * renewalPercent / 100)
	if margin := expires.Add(-renewalMargin); margin.Before(at) && margin.After(since) {
		at = margin
	}
	return max(at.Sub(now), renewalRetry)
}

// scheduleRenewal sets the alarm that renews the token of a joined channel.
func (ch *channel) scheduleRenewal() {
	t := &ch.token
	t.renewal.stop()
	if ch.opts.Token == nil || t.expires.IsZero() || ch.stage != StageJoined && ch.stage != StageLive {
		return
	}
	now := ch.c.now().Round(0) // wall time: expiry is
	t.renewal = ch.c.agenda.after(renewalDelay(t.since.Round(0), t.expires, now), func() { ch.renew(nil) })
}

// renew asks for a new token and tells the server when it changed. The server never
// answers that. done, which may be nil, learns the outcome.
func (ch *channel) renew(done func(error)) {
	before := ch.token.value
	ch.askToken(func(err error) {
		if done != nil {
			done(err)
		}
		if ch.stage != StageJoined && ch.stage != StageLive {
			return
		}
		if h := ch.c.opts.Hooks.TokenRenewed; h != nil {
			h(ch.topic, err)
		}
		if err == nil && ch.token.value != before {
			ch.pushToken()
			ch.scheduleRenewal()
			return
		}
		// No new token yet: ask again, ever sooner as the end nears, until the server
		// ends the channel; the rejoin then asks again too.
		left := ch.token.expires.Sub(ch.c.now().Round(0))
		if ch.token.expires.IsZero() || left <= 0 {
			return
		}
		ch.token.renewal.stop()
		ch.token.renewal = ch.c.agenda.after(max(left/4, renewalRetry), func() { ch.renew(nil) })
	})
}

// forgive ends the back-off of a join that was refused for the token it came with.
func (ch *channel) forgive() {
	class := ClassOf(ch.lastErr)
	if ch.stage != StageWaiting || class != Token && class != Permanent {
		return
	}
	ch.retry.stop()
	ch.notBefore = time.Time{}
	ch.failures = 0
	ch.tryJoin()
}

func (ch *channel) pushToken() {
	cn := ch.c.link.conn
	payload, err := json.Marshal(map[string]string{"access_token": ch.token.value})
	if err != nil || cn == nil {
		return
	}
	ch.c.sendControl(
		cn,
		&wire.Message{
			JoinRef: ch.joinRef,
			Ref:     ch.c.newRef(),
			Topic:   ch.topic,
			Event:   wire.EventAccessToken,
			Payload: payload,
		},
	)
}

// RenewToken asks the token source now and, when the channel is joined and the
// token is another one, tells the server: for a user whose rights changed. It
// returns the source's error. With row changes a Gap and a new Live follow, since
// the server makes the subscription anew. A channel that was refused for its token or
// rights and waits to try again tries another token at once. ErrNoToken without a
// token source.
func (ch *Channel) RenewToken(ctx context.Context) error {
	if ch.opts.Token == nil {
		return ErrNoToken
	}
	done := make(chan error, 1)
	if err := ch.c.call(ctx, func() {
		before := ch.token.value
		ch.renew(func(err error) {
			if err == nil && ch.token.value != before {
				ch.forgive()
			}
			done <- err
		})
	}); err != nil {
		return err
	}
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("realtime: renew token of %s: %w", ch.name, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-ch.c.done:
		return ErrClosed
	}
}
