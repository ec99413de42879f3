package bridge

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/eventually"
)

var (
	metricName = regexp.MustCompile(`\b(?:supabridge|go|process)_[a-z0-9_]+\b`)
	fullName   = regexp.MustCompile(`fqName: "([^"]+)"`)
	suffix     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// everything turns on what has metrics of its own.
func everything(t *testing.T) func(*config.Config) {
	box := filepath.Join(t.TempDir(), "outbox")
	return func(cfg *config.Config) {
		cfg.Webhooks.Twilio.AuthTokens = "a token of Twilio's"
		cfg.Webhooks.Outbox.Path = box
		cfg.Cluster.Redis = "redis://127.0.0.1:1" // nobody is there: the bridge goes on alone
		cfg.Cluster.Changes = "leader"
	}
}

// registered lists the metrics that a bridge may ever show.
func registered(r *prometheus.Registry) map[string]bool {
	ch := make(chan *prometheus.Desc)
	go func() { defer close(ch); r.Describe(ch) }()
	names := make(map[string]bool)
	for d := range ch {
		names[fullName.FindStringSubmatch(d.String())[1]] = true
	}
	return names
}

func TestDashboardAndAlertsNameMetricsThatExist(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everything(t))
	there := registered(w.bridge.metrics.registry)
	for path, read := range map[string]func([]byte) []string{"../deploy/grafana/supabridge.json": dashboard, "../deploy/prometheus/alerts.yaml": rules} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		expressions := read(text)
		if len(expressions) < 10 {
			t.Errorf("%s has only the expressions %q", path, expressions)
		}
		for _, e := range expressions {
			names := metricName.FindAllString(e, -1)
			for _, name := range names {
				if base := suffix.ReplaceAllString(name, ""); !there[name] && !there[base] {
					t.Errorf("%s: %s is no metric, in %s", path, name, e)
				}
			}
			if len(names) == 0 && !strings.HasPrefix(e, "up{") {
				t.Errorf("%s: no metric in %s", path, e)
			}
		}
	}
}

// dashboard gives the expressions of a Grafana dashboard.
func dashboard(text []byte) (expressions []string) {
	var d struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return []string{err.Error()}
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	return expressions
}

// rules gives the expressions of alert rules.
func rules(text []byte) (expressions []string) {
	var f struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &f); err != nil {
		return []string{err.Error()}
	}
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			expressions = append(expressions, r.Expr)
		}
	}
	return expressions
}

// scraped asks for a metric as Prometheus does; labels are written as it writes them.
func (w *world) scraped(series string) string {
	w.t.Helper()
	recorder := httptest.NewRecorder()
	w.bridge.OpsHandler().ServeHTTP(recorder, httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil))
	body, err := io.ReadAll(recorder.Body)
	if err != nil || recorder.Code != 200 {
		w.t.Fatalf("/metrics: %d (%v) %s", recorder.Code, err, body)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// counts waits for a metric to have a value.
func (w *world) counts(series, want string) {
	w.t.Helper()
	eventually.Equal(w.t, series, want, func() string { return w.scraped(series) })
}

func TestMetricsFollowWhatHappens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	ana.ask("no such thing")
	w.write(bakery, "hello")
	ana.event("new_message")
	for series, want := range map[string]string{
		`supabridge_connections{transport="websocket"}`:                             "1",
		`supabridge_connections{transport="polling"}`:                               "0",
		`supabridge_sockets{dialect="underscore"}`:                                  "1",
		`supabridge_rooms`:                                                          "1",
		`supabridge_joins_total{result="ok",room="conversation"}`:                   "1",
		`supabridge_events_sent_total{event="message.created"}`:                     "1",
		`supabridge_events_unknown_total{event="no such thing"}`:                    "1",
		`supabridge_changes_sent_total{action="INSERT",by="live",table="messages"}`: "1",
		`supabridge_commit_to_emit_seconds_count`:                                   "1",
		`supabridge_realtime_connects_total`:                                        "1",
		`supabridge_feed_state{state="live"}`:                                       "1",
		`supabridge_feed_queue`:                                                     "0",
		`supabridge_rest_requests_total{status="429"}`:                              "0",
		`supabridge_connections_opened_total{transport="websocket"}`:                "1",
		`supabridge_dialects_detected_total{style="underscore"}`:                    "1",
		fmt.Sprintf(`supabridge_events_received_total{intent=%q}`, "join"):          "1",
		`supabridge_slow_consumers_closed_total`:                                    "0",
	} {
		w.counts(series, want)
	}
	if w.scraped(`supabridge_packets_total{direction="in"}`) < "3" {
		t.Error("packets in are not counted")
	}
	resp := httptest.NewRecorder()
	w.bridge.Handler().ServeHTTP(resp, httptest.NewRequest("GET", "/socket.io/?EIO=4&transport=pigeon", nil))
	w.counts(`supabridge_requests_rejected_total{code="unknown_transport"}`, "1")
	if _, refusal := open(t, w.address, map[string]string{"token": "nobody's"}); refusal == "" {
		t.Error("a bad token was let in")
	}
	if !slices.ContainsFunc([]string{"unauthorized", "malformed", "invalid"}, func(code string) bool {
		return w.scraped(`supabridge_connections_refused_total{code="`+code+`"}`) == "1"
	}) {
		t.Error("the refusal is not counted by code")
	}
}
