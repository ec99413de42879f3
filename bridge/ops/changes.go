package ops

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/feed"
)

// Changes counts row changes and how long they took from commit to emit.
type Changes struct {
	sent    *prometheus.CounterVec
	latency prometheus.Histogram
	recent  latencyLog
}

// NewChanges registers the metrics.
func NewChanges(registry prometheus.Registerer) *Changes {
	m := &Changes{
		sent: vector(
			"changes_sent_total",
			"Row changes sent to rooms, by table, action and how they were found (live or read).",
			"table",
			"action",
			"by",
		),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "commit_to_emit_seconds",
			Help: "Time from a row's commit, by the database's clock, to its being sent to rooms; of live changes. " +
				"One that the fast lane brings counts from the row's time of change.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}),
		recent: latencyLog{now: time.Now},
	}
	registry.MustRegister(m.sent, m.latency)
	return m
}

// Sent counts a change that was sent. committed is the zero time where it is not known.
func (m *Changes) Sent(c feed.Change, committed time.Time) {
	by := "live"
	if c.Found {
		by = "read"
	} else if !committed.IsZero() {
		took := max(0, time.Since(committed))
		m.latency.Observe(took.Seconds())
		m.recent.observe(took)
	}
	m.sent.WithLabelValues(c.Table, string(c.Action), by).Inc()
}

// Recent lists the latencies of the last quarter of an hour, oldest first.
func (m *Changes) Recent() []Moment { return m.recent.recent() }

// WatchFeed has the state of the feed asked for at each scrape.
func WatchFeed(registry prometheus.Registerer, f *feed.Feed) {
	gauge := func(name, help string, value func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	count := func(name, help string, value func(feed.Stats) uint64) {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(value(f.Stats())) }))
	}
	for _, state := range []feed.State{feed.Live, feed.CatchingUp, feed.Polling, feed.Down} {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "feed_state",
			Help: "1 for the state the feed is in.", ConstLabels: prometheus.Labels{"state": string(state)}}, func() float64 {
			if f.Report().State == state {
				return 1
			}
			return 0
		}))
	}
	gauge(
		"feed_lag_seconds",
		"Time from commit to emit of the last live change.",
		func() float64 { return f.Report().Lag.Seconds() },
	)
	count(
		"feed_repaired_total",
		"Changes found by reads that the live feed had not brought.",
		func(s feed.Stats) uint64 { return s.Repaired },
	)
	count(
		"feed_duplicates_dropped_total",
		"Live changes dropped since they had been sent.",
		func(s feed.Stats) uint64 { return s.Repeats },
	)
	count(
		"feed_rereads_total",
		"Rows read anew since their change came incomplete.",
		func(s feed.Stats) uint64 { return s.Rereads },
	)
	count(
		"feed_stalls_total",
		"Times the live feed was silent while rows were committed.",
		func(s feed.Stats) uint64 { return s.Stalls },
	)
	count("feed_read_failures_total", "Reads of the feed that failed.", func(s feed.Stats) uint64 { return s.Failures })
	gauge(
		"feed_read_age_seconds",
		"Time since a read by the cursor last ended well: what Realtime lost before that has been found.",
		func() float64 {
			return time.Since(f.ReadAt()).Seconds()
		},
	)
	gauge("feed_queue", "Changes received and not yet routed.", func() float64 { return float64(f.Queued()) })
}
