package ops

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/phoenix"
)

// Supabase counts what the bridge asks of Supabase and what comes back: Supabase's plans limit
// messages, connections and joins.
type Supabase struct {
	connected    prometheus.Counter
	disconnected *prometheus.CounterVec
	retried      *prometheus.CounterVec
	heartbeat    prometheus.Gauge
	frames       *prometheus.CounterVec
	bytes        *prometheus.CounterVec
	lost         prometheus.Counter
	requests     *prometheus.CounterVec
	took         prometheus.Histogram
}

// NewSupabase registers the metrics.
func NewSupabase(registry prometheus.Registerer) *Supabase {
	m := &Supabase{}
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	m.connected = prometheus.NewCounter(counter("realtime_connects_total", "Connections to Realtime that were opened."))
	m.disconnected = prometheus.NewCounterVec(counter(
		"realtime_disconnects_total",
		"Connections to Realtime that ended or were refused, by what helps: retry, slow (a quota), token, permanent, other socket (a quota), none.",
	), []string{"class"})
	m.retried = prometheus.NewCounterVec(
		counter(
			"realtime_joins_retried_total",
			"Joins of Realtime channels that failed or were lost, by what helps, as above.",
		),
		[]string{"class"},
	)
	m.heartbeat = prometheus.NewGauge(
		prometheus.GaugeOpts{
			Name: "realtime_heartbeat_seconds",
			Help: "How long Realtime took to answer the last heartbeat.",
		},
	)
	m.frames = prometheus.NewCounterVec(
		counter("realtime_messages_total", "Messages to and from Realtime; plans limit them a second and a month."),
		[]string{"direction"},
	)
	m.bytes = prometheus.NewCounterVec(counter("realtime_bytes_total", "Bytes of these."), []string{"direction"})
	m.lost = prometheus.NewCounter(
		counter(
			"realtime_events_dropped_total",
			"Changes dropped since the bridge did not keep up; they are found by a read.",
		),
	)
	m.requests = prometheus.NewCounterVec(
		counter("rest_requests_total", "Requests to PostgREST, by HTTP status; none where no answer came. 429 is a quota."),
		[]string{"status"},
	)
	m.took = prometheus.NewHistogram(
		prometheus.HistogramOpts{Name: "rest_request_seconds", Help: "How long PostgREST took to answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}},
	)
	// so that rates are there from the start
	for _, class := range []phoenix.Class{phoenix.Retry, phoenix.Slow, phoenix.Token, phoenix.Permanent,
		phoenix.OtherSocket} {
		m.disconnected.WithLabelValues(class.String())
		m.retried.WithLabelValues(class.String())
	}
	for _, status := range []string{"200", "429", "none"} {
		m.requests.WithLabelValues(status)
	}
	registry.MustRegister(
		m.connected,
		m.disconnected,
		m.retried,
		m.heartbeat,
		m.frames,
		m.bytes,
		m.lost,
		m.requests,
		m.took,
	)
	return m
}

// Hooks count what a client of Realtime does.
func (m *Supabase) Hooks() phoenix.Hooks {
	in, out := m.frames.WithLabelValues("in"), m.frames.WithLabelValues("out")
	bytesIn, bytesOut := m.bytes.WithLabelValues("in"), m.bytes.WithLabelValues("out")
	return phoenix.Hooks{
		Connected: func(time.Duration) { m.connected.Inc() },
		Disconnected: func(err error, _ time.Duration) {
			class := "none"
			if err != nil && !errors.Is(err, phoenix.ErrClosed) {
				class = phoenix.ClassOf(err).String()
			}
			m.disconnected.WithLabelValues(class).Inc()
		},
		Heartbeat: func(rtt time.Duration) { m.heartbeat.Set(rtt.Seconds()) },
		Retrying: func(_ string, err error, _ time.Duration) {
			m.retried.WithLabelValues(phoenix.ClassOf(err).String()).Inc()
		},
		FrameIn:    func(n int, _ bool) { in.Inc(); bytesIn.Add(float64(n)) },
		FrameOut:   func(n int, _ bool) { out.Inc(); bytesOut.Add(float64(n)) },
		EventsLost: func(_ string, n int) { m.lost.Add(float64(n)) },
	}
}

// Answered counts a request to PostgREST; status 0 is none.
func (m *Supabase) Answered(status int, took time.Duration) {
	text := "none"
	if status != 0 {
		text = strconv.Itoa(status)
	}
	m.requests.WithLabelValues(text).Inc()
	m.took.Observe(took.Seconds())
}
