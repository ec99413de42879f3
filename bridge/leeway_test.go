package bridge

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/config"
)

// A token that auth.leeway lets in holds until the leeway is over: expiry goes by the same instant.
func TestATokenWithinTheLeewayStaysConnected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Auth.Leeway = time.Hour })
	token := sign(t, jwt.SigningMethodHS256, []byte(testSecret), claims(jwt.MapClaims{
		"sub": anaID, "role": auth.ServiceRole, "exp": time.Now().Add(-30 * time.Minute).Unix()}))
	b := connect(t, w.address, map[string]string{"token": token})
	for i := range 5 {
		var answer struct{ Success bool }
		raw := b.ask("join_conversation", bakery)
		if err := json.Unmarshal(raw, &answer); err != nil || !answer.Success {
			t.Fatalf("join %d: %s (%v)", i, raw, err)
		}
	}
	// A renewal within the leeway holds as well.
	if raw := b.ask("access_token", token); !successful(raw) {
		t.Errorf("renewal: %s", raw)
	}
	if raw := b.ask("join_conversation", bakery); !successful(raw) {
		t.Errorf("after the renewal: %s", raw)
	}
}

func successful(raw json.RawMessage) bool {
	var answer struct{ Success bool }
	return json.Unmarshal(raw, &answer) == nil && answer.Success
}
