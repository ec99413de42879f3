package bridge

import (
	"encoding/json"
	"net/http"

	"github.com/supabridge/supabridge/bridge/feed"
)

// readyz answers 200 while the feed is live and 503 otherwise, so that a balancer sends browsers to a node that has something to tell.
func (b *Bridge) readyz(w http.ResponseWriter, _ *http.Request) {
	r := b.upstream.feed.Report()
	code := http.StatusServiceUnavailable
	if r.State == feed.Live {
		code = http.StatusOK
	}
	answer := readiness{Report: r}
	if b.cluster != nil {
		refused := b.cluster.refused()
		answer.Cluster = &clusterReadiness{Up: b.cluster.up() && refused == "", Reason: refused}
	}
	writeJSON(w, code, answer)
}

// readiness is the answer. A cluster that is not up changes no code: the node has all of Supabase's changes for its own browsers.
type readiness struct {
	feed.Report
	Cluster *clusterReadiness `json:"cluster,omitempty"` // of a node in a cluster
}

type clusterReadiness struct {
	Up     bool   `json:"up"`
	Reason string `json:"reason,omitempty"` // why Redis takes no writes
}

// healthz answers 200 while the process runs: a supervisor restarts on anything else, which would not bring Supabase back.
func healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client is gone where this fails
}
