package standin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/supabridge/supabridge/bridge/standin/tokens"
)

// Bounds of one request.
const (
	maxBodyBytes = 8 << 20
	maxURLBytes  = 64 << 10
)

// exposedHeaders are the headers of answers that a page of another origin may read.
const exposedHeaders = "Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Preference-Applied, Range-Unit, Server, Transfer-Encoding"

// gateway is what Supabase's gateway does before anything else: CORS for any origin, and bounds.
func gateway(now func() time.Time, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Date", now().UTC().Format(http.TimeFormat))
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", exposedHeaders)
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS")
			if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
				h.Set("Access-Control-Allow-Headers", asked)
			}
			h.Set("Access-Control-Max-Age", "3600")
			if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
				h.Set("Access-Control-Allow-Private-Network", "true")
			}
			h.Set("Vary", "Access-Control-Request-Headers")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if len(r.URL.RequestURI()) > maxURLBytes {
			writeJSON(
				w,
				r,
				http.StatusRequestURITooLong,
				gatewayError{Message: "The URL is longer than " + strconv.Itoa(maxURLBytes) + " bytes"},
			)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// gatewayError is the gateway's answer when it lets a request no further.
type gatewayError struct {
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// identified lets a request through that carries a key of the project, and gives next the claims of
// its bearer, which are the key's own where there is no Authorization, and its body.
func (s *Server) identified(
	refuse func(http.ResponseWriter, *http.Request, error),
	next func(http.ResponseWriter, *http.Request, Claims, []byte),
) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("apikey")
		if key == "" {
			key = r.URL.Query().Get("apikey")
		}
		if key == "" {
			writeJSON(
				w,
				r,
				http.StatusUnauthorized,
				gatewayError{"No API key found in request", "No `apikey` request header or url param was found."},
			)
			return
		}
		key = s.tokens.Exchange(key)
		claims, err := s.tokens.Verify(key, s.now())
		if err != nil {
			writeJSON(
				w,
				r,
				http.StatusUnauthorized,
				gatewayError{"Invalid API key", "Double check your Supabase `anon` or `service_role` API key."},
			)
			return
		}
		if bearer, ok := tokens.Bearer(r.Header); ok {
			if token := s.tokens.Exchange(bearer); token != key {
				if claims, err = s.tokens.Verify(token, s.now()); err != nil {
					refuse(w, r, err)
					return
				}
			}
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
		if err != nil {
			status := http.StatusBadRequest
			if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
				status = http.StatusRequestEntityTooLarge
			}
			writeJSON(
				w,
				r,
				status,
				gatewayError{Message: "The body can't be read, or is larger than " + strconv.Itoa(maxBodyBytes) + " bytes"},
			)
			return
		}
		next(w, r, claims, body)
	})
}

// writeJSON answers with a value as JSON.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"message":"the answer can't be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone
	}
}
