package bridge

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// State is how the feed of changes stands.
type State string

// The states of the feed.
const (
	// Down: there is no connection to Realtime; it is being tried.
	Down State = "down"
	// Joining: Realtime is connected, and the feed waits for its confirmation that changes flow.
	Joining State = "joining"
	// Live: changes flow.
	Live State = "live"
)

// status holds the feed's state for whoever asks. The mutex guards state, since and reason.
type status struct {
	log zerolog.Logger

	mu     sync.Mutex
	state  State
	since  time.Time
	reason string
}

func newStatus(log zerolog.Logger) *status {
	return &status{log: log, state: Down, since: time.Now(), reason: "starting"}
}

// set notes a state, and logs it where it is another one.
func (s *status) set(state State, reason string) {
	s.mu.Lock()
	changed := s.state != state
	lasted := time.Since(s.since)
	if changed {
		s.state, s.since = state, time.Now()
	}
	s.reason = reason
	s.mu.Unlock()
	if !changed {
		return
	}
	event := s.log.Info()
	if state == Down {
		event = s.log.Warn()
	}
	if reason != "" {
		event = event.Str("reason", reason)
	}
	event.Str("state", string(state)).Dur("after", lasted).Msg("feed")
}

// report is the body of /readyz.
type report struct {
	State  State     `json:"state"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

func (s *status) report() report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return report{s.state, s.since.UTC(), s.reason}
}

// readyz answers 200 while the feed is live and 503 otherwise, so that a balancer sends browsers to a node that has something to tell.
func (s *status) readyz(w http.ResponseWriter, _ *http.Request) {
	r := s.report()
	code := http.StatusServiceUnavailable
	if r.State == Live {
		code = http.StatusOK
	}
	writeJSON(w, code, r)
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
