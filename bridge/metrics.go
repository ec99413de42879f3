package bridge

import (
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/engineio"
)

// metrics counts what happens. What others know already (the feed's state, how many sockets there are) is asked of them at each scrape.
type metrics struct {
	registry *prometheus.Registry

	opened    *prometheus.CounterVec
	closed    *prometheus.CounterVec
	upgraded  prometheus.Counter
	queueFull prometheus.Counter
	refused   *prometheus.CounterVec
	joins     *prometheus.CounterVec
	received  *prometheus.CounterVec
	dialects  *prometheus.CounterVec
	unknown   *prometheus.CounterVec
	sent      *prometheus.CounterVec
	told      *prometheus.CounterVec
	rejected  *prometheus.CounterVec
	latency   prometheus.Histogram
	history   history
	upstream  upstreamMetrics
}

const namespace = "supabridge"

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		opened:    vector("connections_opened_total", "Connections opened, by the transport they began with.", "transport"),
		closed:    vector("connections_closed_total", "Connections ended, by reason.", "reason"),
		upgraded:  counter("connections_upgraded_total", "Connections that went from polling to websocket."),
		queueFull: counter("slow_consumers_closed_total", "Connections closed since their client did not take what it was sent (socketio.max_queue)."),
		refused:   vector("connections_refused_total", "Clients refused at the handshake, by code.", "code"),
		joins:     vector("joins_total", "Joins, by kind of room and result.", "room", "result"),
		received:  vector("events_received_total", "Events from clients, by intent.", "intent"),
		dialects:  vector("dialects_detected_total", "Sockets that have shown the style of their vocabulary, by style.", "style"),
		unknown:   vector("events_unknown_total", "Events from clients that the vocabulary does not know, by name; names beyond the first 200 are (other).", "event"),
		sent:      vector("changes_sent_total", "Row changes sent to rooms, by table, action and how they were found (live or read).", "table", "action", "by"),
		told:      vector("events_sent_total", "Events sent to rooms or sockets, by what they tell; each counts once however many sockets hear it.", "event"),
		rejected:  vector("requests_rejected_total", "Requests refused before they became a connection, by why.", "code"),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: "commit_to_emit_seconds",
			Help:    "Time from a row's commit, by the database's clock, to its being sent to rooms; of live changes. One that the fast lane brings counts from the row's time of change.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}),
	}
	m.registry.MustRegister(m.opened, m.closed, m.upgraded, m.queueFull, m.refused, m.joins, m.received, m.dialects, m.unknown, m.sent, m.told, m.rejected, m.latency,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.history.init(time.Now)
	m.upstream.init(m.registry)
	return m
}

// hooks are how the Socket.IO server tells of connections.
func (m *metrics) hooks() socketio.Hooks {
	return socketio.Hooks{
		Opened:    func(c socketio.ConnectionInfo) { m.opened.WithLabelValues(string(c.Transport)).Inc() },
		Upgraded:  func(socketio.ConnectionInfo) { m.upgraded.Inc() },
		Closed:    func(_ socketio.ConnectionInfo, reason string, _ error) { m.closed.WithLabelValues(reason).Inc() },
		QueueFull: func(socketio.ConnectionInfo) { m.queueFull.Inc() },
		Refused:   func(_ *http.Request, e *engineio.Error) { m.rejected.WithLabelValues(rejection(e)).Inc() },
	}
}

// rejection names why a request was refused.
func rejection(e *engineio.Error) string {
	switch e.Code {
	case engineio.CodeUnknownTransport:
		return "unknown_transport"
	case engineio.CodeUnknownSID:
		return "unknown_sid"
	case engineio.CodeBadHandshakeMethod:
		return "bad_method"
	case engineio.CodeForbidden:
		return "forbidden"
	case engineio.CodeUnsupportedVersion:
		return "unsupported_version"
	}
	return "bad_request"
}

// changed counts a change that is sent. committed is the zero time where it is not known.
func (m *metrics) changed(c feed.Change, committed time.Time) {
	by := "live"
	if c.Found {
		by = "read"
	} else if !committed.IsZero() {
		took := max(0, time.Since(committed))
		m.latency.Observe(took.Seconds())
		m.history.observe(took)
	}
	m.sent.WithLabelValues(c.Table, string(c.Action), by).Inc()
}

// watch has the state of the feed and of the Socket.IO server asked for at each scrape.
func (m *metrics) watch(f *feed.Feed, io *socketio.Server, spaces []*socketio.Namespace) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value))
	}
	count := func(name, help string, value func(feed.Stats) uint64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(value(f.Stats())) }))
	}
	for _, state := range []feed.State{feed.Live, feed.CatchingUp, feed.Polling, feed.Down} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: "feed_state",
			Help: "1 for the state the feed is in.", ConstLabels: prometheus.Labels{"state": string(state)}}, func() float64 {
			if f.Report().State == state {
				return 1
			}
			return 0
		}))
	}
	const partial = "Bytes held of messages from clients that are not complete (socketio.max_partial)."
	gauge("partial_input_bytes", partial, func() float64 {
		bytes, _ := io.Partial()
		return float64(bytes)
	})
	gauge("feed_lag_seconds", "Time from commit to emit of the last live change.", func() float64 { return f.Report().Lag.Seconds() })
	count("feed_repaired_total", "Changes found by reads that the live feed had not brought.", func(s feed.Stats) uint64 { return s.Repaired })
	count("feed_duplicates_dropped_total", "Live changes dropped since they had been sent.", func(s feed.Stats) uint64 { return s.Repeats })
	count("feed_rereads_total", "Rows read anew since their change came incomplete.", func(s feed.Stats) uint64 { return s.Rereads })
	count("feed_stalls_total", "Times the live feed was silent while rows were committed.", func(s feed.Stats) uint64 { return s.Stalls })
	count("feed_read_failures_total", "Reads of the feed that failed.", func(s feed.Stats) uint64 { return s.Failures })
	gauge("feed_read_age_seconds", "Time since a read by the cursor last ended well: what Realtime lost before that has been found.", func() float64 {
		return time.Since(f.ReadAt()).Seconds()
	})
	gauge("feed_queue", "Changes received and not yet routed.", func() float64 { return float64(f.Queued()) })
	m.registry.MustRegister(&scrape{io: io, spaces: spaces})
}

// OpsHandler serves what is for those who run the daemon and nobody else: a status page at /, /metrics for Prometheus, /debug/pprof/, and
// /healthz and /readyz again.
func (b *Bridge) OpsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", healthz)
	mux.HandleFunc("GET /readyz", b.readyz)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("GET /tail", b.tap.Handler(func() bool { return b.cfg().Ops.TailBodies }))
	b.mountStatus(mux)
	return guardOps(mux)
}
