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
func (s *Server) Realtime() *phxserver.Server { return s.realtime.server }

// mountAdmin puts up /admin/faults, for rehearsing outages: POST makes one happen, GET
// lists those that hold, DELETE ends them; and /admin/publication, where POST takes a
// table into the publication or out of it. Only this machine may, and no web page.
func (rt *realtime) mountAdmin(mux *http.ServeMux) {
	mux.HandleFunc("POST /admin/faults", localOnly(rt.injectFault))
	mux.HandleFunc("GET /admin/faults", localOnly(rt.listFaults))
	mux.HandleFunc("POST /admin/publication", localOnly(rt.alterPublication))
	mux.HandleFunc("DELETE /admin/faults", localOnly(func(w http.ResponseWriter, _ *http.Request) {
		rt.server.ClearFaults()
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

func (rt *realtime) injectFault(w http.ResponseWriter, r *http.Request) {
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
	i, err := rt.server.Inject(f)
	if err != nil {
		answerFault(w, http.StatusConflict, map[string]any{"error": err.Error()})
		return
	}
	answerFault(w, http.StatusOK, faultReport{i.Fault(), i.Hits()})
}

// alterPublication does what ALTER PUBLICATION supabase_realtime ADD or DROP TABLE does:
// {"table": "messages", "published": false}.
func (rt *realtime) alterPublication(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Table     string `json:"table"`
		Published *bool  `json:"published"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxFaultBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil || asked.Table == "" || asked.Published == nil {
		answerFault(w, http.StatusBadRequest, map[string]any{"error": `want {"table": "[schema.]name", "published": true or false}`})
		return
	}
	name := tableName{rt.db.schemas[0], asked.Table}
	if schema, table, ok := strings.Cut(asked.Table, "."); ok {
		name = tableName{schema, table}
	}
	if !rt.publish(name, *asked.Published) {
		answerFault(w, http.StatusNotFound, map[string]any{"error": "there is no table " + name.schema + "." + name.name})
		return
	}
	answerFault(w, http.StatusOK, asked)
}

// publish takes a table into the publication or out of it; false where there is none.
func (rt *realtime) publish(name tableName, published bool) bool {
	if !rt.db.SetPublished(name.schema, name.name, published) {
		return false
	}
	rt.server.PublicationChanged()
	return true
}

func (rt *realtime) listFaults(w http.ResponseWriter, _ *http.Request) {
	reports := []faultReport{}
	for _, i := range rt.server.Faults() {
		reports = append(reports, faultReport{i.Fault(), i.Hits()})
	}
	answerFault(w, http.StatusOK, reports)
}

func answerFault(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}
