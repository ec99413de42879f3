package ops

import (
	"encoding/json"
	"net/http"

	"github.com/supabridge/supabridge/bridge/feed"
)

// Readiness is what Readyz answers. A cluster that is not up changes no code: the node has all of
// Supabase's changes for its own browsers.
type Readiness struct {
	feed.Report
	Cluster *ClusterReadiness `json:"cluster,omitempty"` // of a node in a cluster
}

// ClusterReadiness says whether other nodes are reached.
type ClusterReadiness struct {
	Up     bool   `json:"up"`
	Reason string `json:"reason,omitempty"` // why Redis takes no writes
}

// Readyz answers 200 while the feed is live and 503 otherwise, so that a balancer sends browsers to
// a node that has something to send.
func Readyz(current func() Readiness) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		r := current()
		code := http.StatusServiceUnavailable
		if r.State == feed.Live {
			code = http.StatusOK
		}
		WriteJSON(w, code, r)
	}
}

// Healthz answers 200 while the process runs. A supervisor restarts on anything else, which would
// not bring Supabase back.
func Healthz(w http.ResponseWriter, _ *http.Request) {
	WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// WriteJSON answers with a body that no cache keeps.
func WriteJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client is gone where this fails
}
