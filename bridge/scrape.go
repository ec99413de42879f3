package bridge

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

// scrape asks the Socket.IO server how things stand, once for each scrape.
type scrape struct {
	io     *socketio.Server
	spaces []*socketio.Namespace
}

func described(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
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
func (s *scrape) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConnections, descSockets, descRooms, descQueuePacket, descQueueBytes, descQueueMost, descPackets, descBytes} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *scrape) Collect(ch chan<- prometheus.Metric) {
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

// rooms counts the sockets by what they hear, and the rooms that the application knows of.
func (s *scrape) rooms() (dialects map[vocabulary.Style]int, rooms int) {
	dialects = make(map[vocabulary.Style]int)
	for _, space := range s.spaces {
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
