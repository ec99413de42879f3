package bridge

import (
	"cmp"
	"embed"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/supabridge/supabridge/socketio"
)

//go:embed statuspage
var statusFiles embed.FS

// maxRoomsShown is how many rooms the status page names, the fullest first.
const maxRoomsShown = 15

// overview is what the page at / of the ops port shows.
type overview struct {
	Node     string            `json:"node"`
	Version  string            `json:"version"`
	Now      time.Time         `json:"now"`
	Started  time.Time         `json:"started"`
	State    string            `json:"state"`
	Since    time.Time         `json:"since"`
	Reason   string            `json:"reason"`
	LagMS    int64             `json:"lag_ms"`
	ReadAgo  float64           `json:"read_ago_seconds"`
	Repaired uint64            `json:"repaired"`
	Repeats  uint64            `json:"repeats"`
	Stalls   uint64            `json:"stalls"`
	Latency  []moment          `json:"latency"`
	Slots    slots             `json:"slots"`
	By       map[string]int    `json:"connections"`
	Dialects map[string]int    `json:"dialects"`
	Rooms    int               `json:"rooms"`
	Fullest  []roomSize        `json:"fullest"`
	Traffic  socketio.Traffic  `json:"traffic"`
	Waiting  int               `json:"queue_bytes"`
	Outbox   *outboxStatus     `json:"outbox"`  // null without one
	Cluster  *clusterStatus    `json:"cluster"` // null for a node that is alone
	Problems []json.RawMessage `json:"problems"`
	Memory   uint64            `json:"heap_bytes"`
	Routines int               `json:"goroutines"`
}

type slots struct {
	Seconds float64 `json:"seconds"`
	Count   int     `json:"count"`
}

type roomSize struct {
	Name    string `json:"name"`
	Sockets int    `json:"sockets"`
}

type outboxStatus struct {
	Waiting int   `json:"waiting"`
	Dead    int   `json:"dead"`
	Bytes   int64 `json:"bytes"`

	Oldest float64 `json:"oldest_seconds,omitempty"` // how long the one that waits longest does
	Reason string  `json:"reason,omitempty"`         // why its last delivery failed
}

type clusterStatus struct {
	Up      bool `json:"up"`      // Redis is there and takes writes, and other nodes are heard
	Leads   bool `json:"leads"`   // this node does
	Hears   bool `json:"hears"`   // Realtime, for itself
	Peers   int  `json:"peers"`   // other bridges that are alive
	Servers int  `json:"servers"` // other Socket.IO servers, bridges or not
	Waiting int  `json:"waiting"` // bytes for them that wait for Redis

	Refused string `json:"refused,omitempty"` // why Redis takes no writes
}

// status says how the node stands in its cluster.
func (c *cluster) status() *clusterStatus {
	if c == nil {
		return nil
	}
	s := c.adapter.Stats()
	at := &clusterStatus{Up: s.Up && c.refused() == "", Refused: c.refused(), Leads: c.leads(), Hears: c.led == nil || c.led.on.Load(), Peers: c.alive(), Servers: s.Nodes, Waiting: s.Queued}
	if c.led != nil {
		at.Waiting += c.led.bus.Stats().Queued
	}
	return at
}

func (b *Bridge) overview() overview {
	r, stats := b.upstream.feed.Report(), b.upstream.feed.Stats()
	now := time.Now().UTC()
	s := overview{
		Now: now, Started: b.started, State: string(r.State), Since: r.Since.UTC(), Reason: r.Reason, LagMS: r.Lag.Milliseconds(),
		ReadAgo: now.Sub(b.upstream.feed.ReadAt()).Seconds(), Repaired: stats.Repaired, Repeats: stats.Repeats, Stalls: stats.Stalls,
		Latency: b.metrics.history.recent(), Slots: slots{slotLength.Seconds(), slotCount},
		By: make(map[string]int), Dialects: make(map[string]int), Traffic: b.io.Traffic(), Problems: b.problems.Load().newest(), Routines: runtime.NumGoroutine(),
	}
	s.Node, _ = os.Hostname() // without a name it goes without
	if info, ok := debug.ReadBuildInfo(); ok {
		s.Version = info.Main.Version
	}
	for transport, n := range b.io.ConnectionsByTransport() {
		s.By[string(transport)] = n
	}
	look := scrape{io: b.io, spaces: b.spaces}
	dialects, rooms := look.rooms()
	s.Rooms = rooms
	for style, n := range dialects {
		if n > 0 {
			s.Dialects[style.String()] = n
		}
	}
	s.Fullest = b.fullest()
	s.Cluster = b.cluster.status()
	_, s.Waiting, _ = b.io.QueueDepth()
	if b.webhooks != nil && b.webhooks.box != nil {
		o := b.webhooks.box.Stats()
		s.Outbox = &outboxStatus{Waiting: o.Waiting, Dead: o.Dead, Bytes: o.Bytes}
		if oldest, ok := b.webhooks.box.Oldest(); ok {
			s.Outbox.Oldest, s.Outbox.Reason = now.Sub(oldest.At).Seconds(), oldest.Reason
		}
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s.Memory = memory.HeapInuse
	return s
}

// fullest lists the rooms with the most sockets.
func (b *Bridge) fullest() []roomSize {
	sizes := make(map[string]int)
	for _, space := range b.spaces {
		for name, n := range space.Rooms() {
			if !strings.HasPrefix(name, "\x00") {
				sizes[name] += n
			}
		}
	}
	list := make([]roomSize, 0, len(sizes))
	for name, n := range sizes {
		list = append(list, roomSize{name, n})
	}
	slices.SortFunc(list, func(a, b roomSize) int { return cmp.Or(b.Sockets-a.Sockets, strings.Compare(a.Name, b.Name)) })
	return list[:min(len(list), maxRoomsShown)]
}

// mountStatus puts the page on the mux of the ops port. It needs nothing from elsewhere.
func (b *Bridge) mountStatus(mux *http.ServeMux) {
	files, err := fs.Sub(statusFiles, "statuspage")
	if err != nil {
		panic(err) // the folder is embedded: it can't be absent
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "index.html") })
	for _, name := range []string{"status.js", "status.css"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, name) })
	}
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, b.overview()) })
}

// guardOps keeps pages of other sites from using a browser on this machine to look at the ops port, which asks for no password: by requests across origins,
// and by a name of theirs that they let point here.
func guardOps(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && isLoopback(local.String()) && !isLocalName(r.Host) {
			http.Error(w, "this port is for operators on this machine: ask for it by localhost or its address", http.StatusMisdirectedRequest)
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			http.Error(w, "not for other sites", http.StatusForbidden)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func isLoopback(hostport string) bool {
	addr, err := netip.ParseAddrPort(hostport)
	return err == nil && addr.Addr().IsLoopback()
}

// isLocalName says whether a Host header names this machine in a way that no other site's page can.
func isLocalName(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}
