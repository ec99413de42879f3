package ops

import (
	"encoding/json"
	"net/http"

	"github.com/supabridge/supabridge/bridge/feed"
)

// Readyz answers 200 while the feed is live and 503 otherwise, so that a balancer sends browsers to a node that has
// something to send.
func Readyz(report func() feed.Report) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		r := report()
		code := http.StatusServiceUnavailable
		if r.State == feed.Live {
			code = http.StatusOK
		}
		WriteJSON(w, code, r)
	}
}

// Healthz answers 200 while the process runs. A supervisor restarts on anything else, which would not bring Supabase back.
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
