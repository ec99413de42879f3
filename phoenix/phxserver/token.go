package phxserver

import (
	"fmt"
	"strings"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// renew takes a pushed access_token. It is never answered: a good one replaces
// the claims, a bad one ends the channel.
func (ch *channel) renew(m *wire.Message) {
	v, err := decodeJSON(m.Payload)
	if err != nil {
		return
	}
	params, _ := v.(map[string]any)
	token, ok := params["access_token"].(string)
	if !ok || token == ch.token || strings.HasPrefix(token, "sb_") {
		return
	}
	claims, err := ch.socket.srv.backend.Verify(ch.socket.ctx, token)
	if err != nil {
		ch.shutdown(errorText(err))
		return
	}
	ch.token, ch.claims = token, claims
	if err := ch.authorize(); err != nil {
		ch.shutdown(strings.TrimPrefix(err.Error(), "Unauthorized: "))
		return
	}
	ch.armExpiry()
	if len(ch.config.bindings) > 0 {
		ch.subscribeAfter(jitter(ch.socket.srv.opts.Timing.Resubscribe))
	}
}

// armExpiry has the channel end with its token.
func (ch *channel) armExpiry() {
	stopTimer(ch.expiry)
	ch.expiry = ch.socket.after(time.Until(ch.claims.Expires), func() {
		if !ch.stopped && time.Until(ch.claims.Expires) <= 0 { // else renewed meanwhile
			ch.expire()
		}
	})
}

func (ch *channel) expire() {
	ago := max(time.Since(ch.claims.Expires), 0)
	ch.shutdown(fmt.Sprintf("Token has expired %d seconds ago", int(ago.Seconds())))
}
