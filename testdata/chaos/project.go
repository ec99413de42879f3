package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/standin"
)

// tenantID is the distributor of the seed whose conversations the browsers are in.
const tenantID = "d1000000-0000-4000-8000-000000000001"

// project is the Supabase: a stand-in whose tables live through everything, behind one gate for
// REST and one for Realtime.
type project struct {
	server   *standin.Server
	http     *http.Server
	served   sync.WaitGroup
	rest     *gate
	realtime *gate
	trouble  atomic.Pointer[restTrouble] // nil while REST answers

	conversations []string
}

// restTrouble is how REST fails; share is the part of the requests that do.
type restTrouble struct {
	Kind  string // 429, 500, 502, slow
	Share float64
}

// slowAnswer is how late an answer is while REST is slow: longer than the bridge waits (see
// bridgeEnv).
const slowAnswer = 4 * time.Second

// openProject opens one; with fast its database broadcasts changes too, as after the migration.
func openProject(conversations int, fast bool) (*project, error) {
	opts := standin.Options{}
	if fast {
		opts.Broadcast = map[string]string{"conversations": migration.Topic, "messages": migration.Topic}
	}
	opts.Realtime.Timing = realTiming
	server, err := standin.New(opts)
	if err != nil {
		return nil, err
	}
	p := &project{server: server}
	err = server.DB().Tx(func(tx *standin.Tx) error {
		for n := range conversations {
			row, err := tx.Insert(
				"conversations",
				map[string]any{"distributor_id": tenantID, "customer_name": fmt.Sprintf("Customer %d", n+1)},
			)
			if err != nil {
				return err
			}
			var id string
			if err := json.Unmarshal(row["id"], &id); err != nil {
				return err
			}
			p.conversations = append(p.conversations, id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p.http = &http.Server{Handler: p.troubled(server.Handler()), ReadHeaderTimeout: 10 * time.Second}
	p.served.Go(func() { _ = p.http.Serve(listener) }) // until close
	if p.rest, err = openGate(listener.Addr().String()); err != nil {
		return nil, err
	}
	p.realtime, err = openGate(listener.Addr().String())
	return p, err
}

// troubled is REST as it is while a schedule troubles it. It stands in the way of requests before
// they change anything.
func (p *project) troubled(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := p.trouble.Load()
		if t == nil || len(r.URL.Path) < 6 || r.URL.Path[:6] != "/rest/" || rand.Float64() >= t.Share {
			next.ServeHTTP(w, r)
			return
		}
		switch t.Kind {
		case "slow":
			if pause(r.Context(), slowAnswer) == nil {
				next.ServeHTTP(w, r)
			}
		case "502":
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(
				w,
				"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>",
			) // the client may be gone
		default:
			status, err := strconv.Atoi(t.Kind)
			if err != nil {
				status = http.StatusInternalServerError
			}
			w.Header().Set("Content-Type", "application/json")
			if status == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", "1")
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(
				w,
				`{"message":"An invalid response was received from the upstream server"}`,
			) // the client may be gone
		}
	})
}

// token is a browser's: a user of the tenant, for longer than any run.
func (p *project) token(n int) (string, error) {
	user := fmt.Sprintf("a1000000-0000-4000-8000-00000000000%d", 1+n%3) // those of the seed
	claims := map[string]any{"aud": "authenticated", "app_metadata": map[string]any{"distributor_id": tenantID}}
	return p.server.Tokens().Mint("authenticated", user, claims, time.Now(), 24*time.Hour)
}

// heal ends every disturbance.
func (p *project) heal() {
	p.trouble.Store(nil)
	p.server.Realtime().ClearFaults()
	p.rest.heal()
	p.realtime.heal()
}

func (p *project) close() {
	p.rest.close()
	p.realtime.close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = p.server.Close(ctx)  // the process is ending
	_ = p.http.Shutdown(ctx) // likewise
	_ = p.http.Close()
	p.served.Wait()
}
