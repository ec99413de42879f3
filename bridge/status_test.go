package bridge

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/redistest"
)

func TestTheOpsPortIsForNoOtherSite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ops := httptest.NewServer(w.bridge.OpsHandler())
	defer ops.Close()
	for _, test := range []struct {
		host, site, mode string
		want             int
	}{
		{"", "", "", 200}, {"localhost:1", "", "", 200}, {"[::1]", "same-origin", "cors", 200}, {"", "cross-site", "navigate", 200},
		{"evil.example.com", "", "", 421}, {"localhost.evil.example.com:80", "", "", 421}, {"", "cross-site", "cors", 403}, {"", "cross-site", "no-cors", 403},
	} {
		for _, path := range []string{"/", "/status.json", "/metrics", "/debug/pprof/cmdline"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", ops.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if test.host != "" {
				r.Host = test.host
			}
			r.Header.Set("Sec-Fetch-Site", test.site)
			r.Header.Set("Sec-Fetch-Mode", test.mode)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != test.want {
				t.Errorf("%s asked for as %q by %q (%s) answers %d, want %d", path, test.host, test.site, test.mode, resp.StatusCode, test.want)
			}
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestPprofIsOnTheOpsPortOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, path := range []string{"/debug/pprof/", "/metrics", "/status.json"} {
		answer := httptest.NewRecorder()
		w.bridge.Handler().ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
		if answer.Code != http.StatusNotFound {
			t.Errorf("%s answers %d on the main port", path, answer.Code)
		}
	}
}

func TestTheStatusSaysHowTheNodeStandsInItsCluster(t *testing.T) {
	t.Parallel()
	if s := newWorld(t, nil).bridge.status(); s.Cluster != nil {
		t.Errorf("a node that is alone says %+v", *s.Cluster)
	}
	r := redistest.Start(t)
	w := newWorld(t, func(cfg *config.Config) {
		cfg.Cluster.Redis, cfg.Cluster.Changes, cfg.Cluster.Lease = config.Secret(r.URL()), "leader", 500*time.Millisecond
	})
	w.becomes("lead", func() bool {
		return *w.bridge.status().Cluster == (ops.Cluster{Up: true, Leads: true, Hears: true})
	})
	r.Kill()
	w.becomes("say that Redis is away", func() bool {
		s := w.bridge.status().Cluster
		return !s.Up && !s.Leads && s.Hears
	})
}
