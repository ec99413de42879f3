package cluster

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/bus"
	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// register registers the metrics, which ask for the state at each scrape.
func (c *Cluster) register() {
	r := c.opts.Register
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Subsystem: "cluster", Name: name, Help: help}, value))
	}
	count := func(name, help string, value func(redisadapter.Stats) uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Subsystem: "cluster", Name: name, Help: help},
			func() float64 { return float64(value(c.adapter.Stats())) }))
	}
	yes := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	gauge("up", "1 while the other nodes are heard by way of Redis, and it takes writes.",
		func() float64 { return yes(c.up() && c.refused() == "") })
	gauge("leads", "1 for the node that leads.", func() float64 { return yes(c.leads()) })
	gauge("peers", "Other bridges that are alive.", func() float64 { return float64(c.alive()) })
	gauge("servers", "Other Socket.IO servers, bridges or not, at the last count.",
		func() float64 { return float64(c.adapter.Stats().Nodes) })
	gauge("relays", "1 while this node sends what its browsers hear to Socket.IO servers that are no bridges too "+
		"(cluster.relay).", func() float64 { return yes(c.relays()) })
	gauge("queue_bytes", "Bytes that wait to be sent to other nodes (cluster.max_queue).",
		func() float64 { return float64(c.adapter.Stats().Queued) })
	count("sent_total", "Messages sent to other nodes.", func(s redisadapter.Stats) uint64 { return s.Sent })
	count("received_total", "Messages received from other nodes.",
		func(s redisadapter.Stats) uint64 { return s.Received })
	count("dropped_total", "Messages to other nodes that were lost since Redis was away for longer than "+
		"cluster.max_wait, failed, or cluster.max_queue was full.",
		func(s redisadapter.Stats) uint64 { return s.Dropped })
	count("malformed_total", "Messages from other nodes that made no sense.",
		func(s redisadapter.Stats) uint64 { return s.Malformed })
	gauge("hears_realtime", "1 for a node that hears Realtime for itself: each (cluster.changes: each), or the leader "+
		"and those that hear none.", func() float64 { return yes(c.changes == nil || c.changes.on.Load()) })
	if x := c.changes; x != nil {
		gauge("changes_queue_bytes", "Bytes of changes that wait to be told to other nodes (cluster.max_queue).",
			func() float64 { return float64(x.bus.Stats().Queued) })
		told := func(name, help string, value func(bus.Stats) uint64) {
			count(name, help, func(redisadapter.Stats) uint64 { return value(x.bus.Stats()) })
		}
		told("changes_told_total", "Changes, and signs of life, that this node told the others while it led.",
			func(s bus.Stats) uint64 { return s.Written })
		told("changes_heard_total", "Changes, and signs of life, heard of a leader.",
			func(s bus.Stats) uint64 { return s.Heard })
		told("changes_missing_total", "Times that something a leader told was found to be missing; rows are then read.",
			func(s bus.Stats) uint64 { return s.Missing })
		told("changes_dropped_total", "Changes that were not told to other nodes, since cluster.max_queue was full or "+
			"another node took the lead; those read them.", func(s bus.Stats) uint64 { return s.Dropped })
	}
	count("gaps_total", "Times that Redis had dropped something before this node read it (cluster.mode: streams, "+
		"cluster.stream_length).", func(s redisadapter.Stats) uint64 { return s.Gaps })
	count("breaks_total", "Times the connection by which other nodes are heard was lost.",
		func(s redisadapter.Stats) uint64 { return s.Breaks })
}

// Ready says whether other nodes are heard, and Redis takes writes; nil for a node that is alone.
func (c *Cluster) Ready() *ops.ClusterReadiness {
	if c.alone() {
		return nil
	}
	refused := c.refused()
	return &ops.ClusterReadiness{Up: c.up() && refused == "", Reason: refused}
}

// Status says how the node stands in its cluster; nil for a node that is alone.
func (c *Cluster) Status() *ops.Cluster {
	if c.alone() {
		return nil
	}
	s := c.adapter.Stats()
	at := &ops.Cluster{
		Up: s.Up && c.refused() == "", Refused: c.refused(), Leads: c.leads(),
		Hears: c.changes == nil || c.changes.on.Load(), Peers: c.alive(), Servers: s.Nodes, Waiting: s.Queued,
	}
	if c.changes != nil {
		at.Waiting += c.changes.bus.Stats().Queued
	}
	return at
}
