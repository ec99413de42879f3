package bridge

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
)

// Tokens of a new key are taken at once, however soon after another rotation, and those of a key
// that was taken back are not.
func TestKeysMayRotateSeveralTimesInARow(t *testing.T) {
	t.Parallel()
	w := unready(t, func(cfg *config.Config) { cfg.Supabase.JWTSecret = "" })
	w.run()
	for i := range 3 {
		if _, err := w.project.RotateKeys(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		w.as(anaID).must("join_conversation", bakery)
		t.Logf("rotation %d: in after %s", i+1, time.Since(began).Round(time.Millisecond))
	}
	taken := w.token(anaID)
	if _, err := w.project.RotateKeys(); err != nil {
		t.Fatal(err)
	}
	w.project.RevokeKeys()
	w.as(benID)
	if b, refusal := open(t, w.address, map[string]string{"token": taken}); b != nil || refusal != "Authentication error" {
		t.Errorf("a token of a key that was taken back: refusal %q", refusal)
	}
}

// keysProject serves the keys of a stand-in and counts how often they are asked for.
type keysProject struct {
	*standin.Server
	asked  atomic.Int64
	status atomic.Int64 // with which the keys are answered; 0 is as it should be
}

func newKeysProject(t *testing.T) (p *keysProject, address string) {
	t.Helper()
	project, err := standin.New(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p = &keysProject{Server: project}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		if status := int(p.status.Load()); status != 0 {
			w.WriteHeader(status)
			_, _ = w.Write([]byte("<html>upstream connect error</html>"))
			return
		}
		project.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := project.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p, server.URL + "/auth/v1/.well-known/jwks.json"
}

func (p *keysProject) token(t *testing.T) string {
	t.Helper()
	token, err := p.UserToken(anaID)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Tokens that name keys of their own invention cause few reads of the published keys, and don't
// keep a rotated key from being found.
func TestMadeUpKeysCauseFewReadsAndHideNone(t *testing.T) {
	t.Parallel()
	project, address := newKeysProject(t)
	v := newTestVerifier(t, func(cfg *config.Config) { cfg.Supabase.JWTSecret, cfg.Supabase.JWKSURL = "", address })
	forger, _ := ellipticKey(t, "f")
	began := time.Now()
	var forging sync.WaitGroup
	for i := range 800 {
		forging.Go(func() {
			_, err := v.verify(signAs(t, jwt.SigningMethodES256, forger, fmt.Sprint("made-up-", i), claims(nil)))
			if reasonOf(err) != refusedUnauthorized {
				t.Errorf("a forged token: %v", err)
			}
		})
	}
	forging.Wait()
	bound := func() int64 { return keysBudget + int64(time.Since(began)/keysBudgetEvery) + 1 }
	if n := project.asked.Load(); n > bound() {
		t.Errorf("800 made-up keys had the keys read %d times, want %d at most", n, bound())
	}
	if _, err := project.RotateKeys(); err != nil {
		t.Fatal(err)
	}
	good := project.token(t)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		_, err := v.verify(good)
		if err == nil {
			break
		}
		if reasonOf(err) != refusedUnavailable {
			t.Fatalf("a good token was refused for good: %v", err)
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("a rotated key was not found: %v", err)
		}
		if _, err := v.verify(signAs(t, jwt.SigningMethodES256, forger, fmt.Sprint("more-", i), claims(nil))); err == nil {
			t.Error("a forged token was accepted")
		}
		<-tick.C
	}
	if n := project.asked.Load(); n > bound() {
		t.Errorf("the keys were read %d times in %s, want %d at most", n, time.Since(began), bound())
	}
}

// While the keys can't be read a token that they would decide on is refused for a reason that
// passes. Tokens of keys that are known stay good.
func TestKeysThatCannotBeReadRefuseNobodyForGood(t *testing.T) {
	for _, status := range []int{503, 500, 404, 429, 200} { // 200 with HTML: a gateway's page
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			project, address := newKeysProject(t)
			if _, err := project.RotateKeys(); err != nil {
				t.Fatal(err)
			}
			project.status.Store(int64(status))
			v := newTestVerifier(t, func(cfg *config.Config) { cfg.Supabase.JWTSecret, cfg.Supabase.JWKSURL = "", address })
			first := project.token(t)
			if _, err := v.verify(first); reasonOf(err) != refusedUnavailable {
				t.Errorf("while the keys are away: %v (%s)", err, reasonOf(err))
			} else if strings.Contains(err.Error(), first) {
				t.Errorf("the error shows the token: %v", err)
			}
			project.status.Store(0)
			if _, err := v.verify(first); err != nil {
				t.Errorf("when they are back: %v", err)
			}
			project.status.Store(int64(status))
			if _, err := project.RotateKeys(); err != nil {
				t.Fatal(err)
			}
			if _, err := v.verify(project.token(t)); reasonOf(err) != refusedUnavailable {
				t.Errorf("a new key while they are away again: %v (%s)", err, reasonOf(err))
			}
			if _, err := v.verify(first); err != nil {
				t.Errorf("a known key meanwhile: %v", err)
			}
		})
	}
}
