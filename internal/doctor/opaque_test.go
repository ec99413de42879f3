package doctor

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
)

// doctor, and the daemon it looks at, send keys of the kind sb_… in the header apikey alone: they
// are no JWTs.
func TestOpaqueKeysAreNeverSentAsBearer(t *testing.T) {
	s := healthy(t)
	tokens, err := standin.NewTokens(standin.DefaultJWTSecret)
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Supabase.ServiceRoleKey, s.cfg.Supabase.AnonKey = config.Secret(tokens.SecretKey()), config.Secret(tokens.PublishableKey())
	var asked atomic.Int64
	s.upstream = func(_ *standin.Server, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer sb_") {
				t.Errorf("%s %s carries an sb_ key as Bearer", r.Method, r.URL.Path)
			}
			next.ServeHTTP(w, r)
		})
	}
	for _, f := range s.examine(t).Findings {
		if f.Level == Fail {
			t.Errorf("%s %s: %s", f.Check, f.About, f.Text)
		}
	}
	if asked.Load() < 10 {
		t.Errorf("only %d requests were seen", asked.Load())
	}
}
