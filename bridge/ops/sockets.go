package ops

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/engineio"
)

// Sockets counts connections of browsers. What the Socket.IO server knows already is asked of it at
// each scrape.
type Sockets struct {
	opened    *prometheus.CounterVec
	closed    *prometheus.CounterVec
	upgraded  prometheus.Counter
	queueFull prometheus.Counter
	rejected  *prometheus.CounterVec
}

// NewSockets registers the metrics.
func NewSockets(registry prometheus.Registerer) *Sockets {
	m := &Sockets{
		opened: vector("connections_opened_total", "Connections opened, by the transport they began with.", "transport"),
		closed: vector("connections_closed_total", "Connections ended, by reason.", "reason"),
		upgraded: prometheus.NewCounter(prometheus.CounterOpts{Name: "connections_upgraded_total",
			Help: "Connections that went from polling to websocket."}),
		queueFull: prometheus.NewCounter(prometheus.CounterOpts{Name: "slow_consumers_closed_total",
			Help: "Connections closed since their client did not take what it was sent (socketio.max_queue)."}),
		rejected: vector("requests_rejected_total", "Requests refused before they became a connection, by why.", "code"),
	}
	registry.MustRegister(m.opened, m.closed, m.upgraded, m.queueFull, m.rejected)
	return m
}

func vector(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// Hooks count connections of the Socket.IO server.
func (m *Sockets) Hooks() socketio.Hooks {
	return socketio.Hooks{
		Opened:    func(c socketio.ConnectionInfo) { m.opened.WithLabelValues(string(c.Transport)).Inc() },
		Upgraded:  func(socketio.ConnectionInfo) { m.upgraded.Inc() },
		Closed:    func(_ socketio.ConnectionInfo, reason string, _ error) { m.closed.WithLabelValues(reason).Inc() },
		QueueFull: func(socketio.ConnectionInfo) { m.queueFull.Inc() },
		Refused:   func(_ *http.Request, e *engineio.Error) { m.rejected.WithLabelValues(rejection(e)).Inc() },
	}
}

// Rejected counts a request that was refused before the Socket.IO server saw it.
func (m *Sockets) Rejected(code string) { m.rejected.WithLabelValues(code).Inc() }

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

// server asks the Socket.IO server how things stand, once for each scrape.
type server struct {
	io        *socketio.Server
	spaces    []*socketio.Namespace
	styleRoom func(vocabulary.Style) string
}

// Watch has the Socket.IO server asked at each scrape; styleRoom names the room of the sockets that
// hear a style.
func (m *Sockets) Watch(
	registry prometheus.Registerer,
	io *socketio.Server,
	spaces []*socketio.Namespace,
	styleRoom func(vocabulary.Style) string,
) {
	registry.MustRegister(&server{io, spaces, styleRoom})
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "partial_input_bytes",
		Help: "Bytes held of messages from clients that are not complete (socketio.max_partial)."}, func() float64 {
		bytes, _ := io.Partial()
		return float64(bytes)
	}))
}

func described(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descConnections = described("connections", "Open connections, by the transport they use now.", "transport")
	descSockets     = described("sockets", "Sockets in all namespaces, by the dialect they hear.", "dialect")
	descRooms       = described("rooms", "Rooms with at least one socket.")
	descQueuePacket = described("queue_packets", "Packets waiting to be sent, to all clients together.")
	descQueueBytes  = described("queue_bytes", "Bytes waiting to be sent, to all clients together.")
	descQueueMost   = described("queue_largest_bytes", "Bytes waiting for the client that has most waiting.")
	descPackets     = described("packets_total", "Packets to and from clients, heartbeats included.", "direction")
	descBytes       = described("packet_bytes_total", "Bytes of packets to and from clients.", "direction")
)

// Describe implements prometheus.Collector.
func (s *server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConnections, descSockets, descRooms, descQueuePacket, descQueueBytes,
		descQueueMost, descPackets, descBytes} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *server) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	count := func(d *prometheus.Desc, value uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	for transport, n := range s.io.ConnectionsByTransport() {
		gauge(descConnections, n, string(transport))
	}
	dialects, rooms := s.rooms()
	for _, style := range vocabulary.Styles() {
		gauge(descSockets, dialects[style], style.String())
	}
	gauge(descRooms, rooms)
	packets, bytes, largest := s.io.QueueDepth()
	gauge(descQueuePacket, packets)
	gauge(descQueueBytes, bytes)
	gauge(descQueueMost, largest)
	t := s.io.Traffic()
	count(descPackets, t.PacketsIn, "in")
	count(descPackets, t.PacketsOut, "out")
	count(descBytes, t.BytesIn, "in")
	count(descBytes, t.BytesOut, "out")
}

// rooms counts the sockets by the style they hear, and the rooms that the application knows of.
func (s *server) rooms() (dialects map[vocabulary.Style]int, rooms int) {
	return countRooms(s.spaces, s.styleRoom)
}

func countRooms(
	spaces []*socketio.Namespace,
	styleRoom func(vocabulary.Style) string,
) (dialects map[vocabulary.Style]int, rooms int) {
	dialects = make(map[vocabulary.Style]int)
	for _, space := range spaces {
		all := space.Rooms()
		for _, style := range vocabulary.Styles() {
			dialects[style] += all[styleRoom(style)]
		}
		for name := range all {
			if !strings.HasPrefix(name, "\x00") {
				rooms++
			}
		}
	}
	return dialects, rooms
}
