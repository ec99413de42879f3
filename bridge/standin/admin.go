package standin

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// maxFaultBody bounds the body of POST /admin/faults.
const maxFaultBody = 1 << 20

// Realtime is the stand-in's Realtime server, for what SQL would do there (Send) and for
// faults (Inject).
func (s *Server) Realtime() *phxserver.Server { return s.realtime.Server() }

// mountAdmin puts up /admin/faults, for rehearsing outages: POST makes one happen, GET
// lists those that hold, DELETE ends them; and /admin/publication, where POST takes a
// table into the publication or out of it. Only this machine may, and no web page.
func (s *Server) mountAdmin(mux *http.ServeMux) {
	mux.HandleFunc("POST /admin/faults", localOnly(s.injectFault))
	mux.HandleFunc("GET /admin/faults", localOnly(s.listFaults))
	mux.HandleFunc("POST /admin/publication", localOnly(s.alterPublication))
	mux.HandleFunc("DELETE /admin/faults", localOnly(func(w http.ResponseWriter, _ *http.Request) {
		s.realtime.Server().ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	}))
}

// localOnly refuses what comes from another machine, or from a page in a browser.
func localOnly(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() || r.Header.Get("Origin") != "" {
			answerFault(w, http.StatusForbidden, map[string]any{"error": "faults are for this machine's command line only"})
			return
		}
		next(w, r)
	}
}

// faultReport is a fault at work, as the endpoint tells it.
type faultReport struct {
	Fault phxserver.Fault `json:"fault"`
	Hits  int             `json:"hits"`
}

func (s *Server) injectFault(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFaultBody))
	if err != nil {
		answerFault(w, http.StatusRequestEntityTooLarge, map[string]any{"error": err.Error()})
		return
	}
	var f phxserver.Fault
	if err := json.Unmarshal(body, &f); err != nil {
		answerFault(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
		return
	}
	i, err := s.realtime.Server().Inject(f)
	if err != nil {
		answerFault(w, http.StatusConflict, map[string]any{"error": err.Error()})
		return
	}
	answerFault(w, http.StatusOK, faultReport{i.Fault(), i.Hits()})
}

// alterPublication does what ALTER PUBLICATION supabase_realtime ADD or DROP TABLE does:
// {"table": "messages", "published": false}.
func (s *Server) alterPublication(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Table     string `json:"table"`
		Published *bool  `json:"published"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxFaultBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil || asked.Table == "" || asked.Published == nil {
		answerFault(
			w,
			http.StatusBadRequest,
			map[string]any{"error": `want {"table": "[schema.]name", "published": true or false}`},
		)
		return
	}
	schema, name := s.db.Schemas()[0], asked.Table
	if before, after, ok := strings.Cut(asked.Table, "."); ok {
		schema, name = before, after
	}
	if !s.realtime.Publish(schema, name, *asked.Published) {
		answerFault(w, http.StatusNotFound, map[string]any{"error": "there is no table " + schema + "." + name})
		return
	}
	answerFault(w, http.StatusOK, asked)
}

func (s *Server) listFaults(w http.ResponseWriter, _ *http.Request) {
	reports := []faultReport{}
	for _, i := range s.realtime.Server().Faults() {
		reports = append(reports, faultReport{i.Fault(), i.Hits()})
	}
	answerFault(w, http.StatusOK, reports)
}

func answerFault(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}
