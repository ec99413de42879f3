package bridge

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// bodyTime is what the body of a webhook, or of what the application's server sends, may take to
// arrive: a sender that drips it holds a connection no longer.
const bodyTime = 30 * time.Second

// bounded keeps requests from holding on to what they get here, and browsers from making of an
// answer what it is not. Requests at the paths of Socket.IO have times of their own.
func bounded(next http.Handler, socketio []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if !slices.Contains(socketio, strings.TrimSuffix(r.URL.Path, "/")) {
			h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
			_ = http.NewResponseController(w).
				SetReadDeadline(time.Now().Add(bodyTime))
			// net/http takes it back after the request; a test's recorder has none
		}
		next.ServeHTTP(w, r)
	})
}
