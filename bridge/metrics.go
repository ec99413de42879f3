package bridge

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/ops"
)

// metrics counts what happens; each part of the bridge registers its own under register.
type metrics struct {
	registry *prometheus.Registry
	register prometheus.Registerer // puts supabridge_ before each name
	sockets  *ops.Sockets
	changes  *ops.Changes
	upstream *ops.Supabase

	refused  *prometheus.CounterVec
	joins    *prometheus.CounterVec
	received *prometheus.CounterVec
	dialects *prometheus.CounterVec
	unknown  *prometheus.CounterVec
	panics   *prometheus.CounterVec
}

func newMetrics() *metrics {
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry: ops.NewRegistry(),
		refused:  vector("connections_refused_total", "Clients refused at the handshake, by code.", "code"),
		joins:    vector("joins_total", "Joins, by kind of room and result.", "room", "result"),
		received: vector("events_received_total", "Events from clients, by intent.", "intent"),
		dialects: vector(
			"dialects_detected_total",
			"Sockets that have shown the style of their vocabulary, by style.",
			"style",
		),
		unknown: vector("events_unknown_total",
			"Events from clients that the vocabulary does not know, by name; names beyond the first 200 are (other).", "event"),
		panics: newPanics(),
	}
	m.register = ops.Prefixed(m.registry)
	m.sockets, m.changes, m.upstream = ops.NewSockets(m.register), ops.NewChanges(m.register), ops.NewSupabase(m.register)
	m.register.MustRegister(m.refused, m.joins, m.received, m.dialects, m.unknown, m.panics)
	return m
}

// OpsHandler serves what is for those who run the daemon and nobody else; see [ops.Handler].
func (b *Bridge) OpsHandler() http.Handler {
	return ops.Handler(ops.HandlerOptions{
		Metrics: b.metrics.registry, Ready: b.readyz(), Status: b.status,
		Tail: b.tap.Handler(func() bool { return b.cfg().Ops.TailBodies }),
	})
}

func (b *Bridge) readyz() http.HandlerFunc {
	return ops.Readyz(func() ops.Readiness {
		return ops.Readiness{Report: b.upstream.feed.Report(), Cluster: b.cluster.Ready()}
	})
}

// ShowProblems has the status page show what a log's Problems keep.
func (b *Bridge) ShowProblems(p *ops.Problems) { b.problems.Store(p) }

// status collects what the status page shows.
func (b *Bridge) status() ops.Status {
	s := ops.Status{Started: b.started, Problems: b.problems.Load().Newest(), Cluster: b.cluster.Status()}
	s.Machine()
	s.Feed(b.upstream.feed, b.metrics.changes)
	s.Sockets(b.io, b.spaces, emit.StyleRoom)
	if box := b.webhooks.Outbox(); box != nil {
		o := box.Stats()
		s.Outbox = &ops.Outbox{Waiting: o.Waiting, Dead: o.Dead, Bytes: o.Bytes}
		if oldest, ok := box.Oldest(); ok {
			s.Outbox.Oldest, s.Outbox.Reason = s.Now.Sub(oldest.At).Seconds(), oldest.Reason
		}
	}
	return s
}
