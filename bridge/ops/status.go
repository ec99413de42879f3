package ops

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

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

//go:embed statuspage
var statusFiles embed.FS

// maxRoomsShown is how many rooms the status page names, the fullest first.
const maxRoomsShown = 15

// Status is what the page at / of the ops port shows. Machine, Sockets and Feed fill their parts.
type Status struct {
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
	Latency  []Moment          `json:"latency"`
	Slots    Slots             `json:"slots"`
	By       map[string]int    `json:"connections"`
	Dialects map[string]int    `json:"dialects"`
	Rooms    int               `json:"rooms"`
	Fullest  []RoomSize        `json:"fullest"`
	Traffic  socketio.Traffic  `json:"traffic"`
	Waiting  int               `json:"queue_bytes"`
	Outbox   *Outbox           `json:"outbox"`  // null without one
	Cluster  *Cluster          `json:"cluster"` // null for a node that is alone
	Problems []json.RawMessage `json:"problems"`
	Memory   uint64            `json:"heap_bytes"`
	Routines int               `json:"goroutines"`
}

// Slots says what a Moment covers.
type Slots struct {
	Seconds float64 `json:"seconds"`
	Count   int     `json:"count"`
}

// RoomSize is a room with how many sockets are in it.
type RoomSize struct {
	Name    string `json:"name"`
	Sockets int    `json:"sockets"`
}

// Outbox says what waits there.
type Outbox struct {
	Waiting int   `json:"waiting"`
	Dead    int   `json:"dead"`
	Bytes   int64 `json:"bytes"`

	Oldest float64 `json:"oldest_seconds,omitempty"` // how long the one that waits longest does
	Reason string  `json:"reason,omitempty"`         // why its last delivery failed
}

// Cluster says how a node stands in its cluster.
type Cluster struct {
	Up      bool `json:"up"`      // Redis is there and takes writes, and other nodes are heard
	Leads   bool `json:"leads"`   // this node does
	Hears   bool `json:"hears"`   // Realtime, for itself
	Peers   int  `json:"peers"`   // other bridges that are alive
	Servers int  `json:"servers"` // other Socket.IO servers, bridges or not
	Waiting int  `json:"waiting"` // bytes for them that wait for Redis

	Refused string `json:"refused,omitempty"` // why Redis takes no writes
}

// Machine fills in what the process knows of itself.
func (s *Status) Machine() {
	s.Now, s.Routines = time.Now().UTC(), runtime.NumGoroutine()
	s.Node, _ = os.Hostname() // without a name it goes without
	if info, ok := debug.ReadBuildInfo(); ok {
		s.Version = info.Main.Version
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s.Memory = memory.HeapInuse
}

// Feed fills in how the feed stands. Machine comes before it.
func (s *Status) Feed(f *feed.Feed, changes *Changes) {
	r, stats := f.Report(), f.Stats()
	s.State, s.Since, s.Reason, s.LagMS = string(r.State), r.Since.UTC(), r.Reason, r.Lag.Milliseconds()
	s.ReadAgo = s.Now.Sub(f.ReadAt()).Seconds()
	s.Repaired, s.Repeats, s.Stalls = stats.Repaired, stats.Repeats, stats.Stalls
	s.Latency, s.Slots = changes.Recent(), Slots{slotLength.Seconds(), slotCount}
}

// Sockets fills in how many browsers there are, and where. styleRoom names the room of the sockets
// that hear a style.
func (s *Status) Sockets(io *socketio.Server, spaces []*socketio.Namespace, styleRoom func(vocabulary.Style) string) {
	s.By, s.Dialects, s.Traffic = make(map[string]int), make(map[string]int), io.Traffic()
	for transport, n := range io.ConnectionsByTransport() {
		s.By[string(transport)] = n
	}
	dialects, rooms := countRooms(spaces, styleRoom)
	s.Rooms = rooms
	for style, n := range dialects {
		if n > 0 {
			s.Dialects[style.String()] = n
		}
	}
	s.Fullest = fullest(spaces)
	_, s.Waiting, _ = io.QueueDepth()
}

// fullest lists the rooms with the most sockets.
func fullest(spaces []*socketio.Namespace) []RoomSize {
	sizes := make(map[string]int)
	for _, space := range spaces {
		for name, n := range space.Rooms() {
			if !strings.HasPrefix(name, "\x00") {
				sizes[name] += n
			}
		}
	}
	list := make([]RoomSize, 0, len(sizes))
	for name, n := range sizes {
		list = append(list, RoomSize{name, n})
	}
	slices.SortFunc(list, func(a, b RoomSize) int { return cmp.Or(b.Sockets-a.Sockets, strings.Compare(a.Name, b.Name)) })
	return list[:min(len(list), maxRoomsShown)]
}

// mountStatus puts the page on the mux of the ops port. It needs nothing from elsewhere.
func mountStatus(mux *http.ServeMux, status func() Status) {
	files, err := fs.Sub(statusFiles, "statuspage")
	if err != nil {
		panic(err) // the folder is embedded: it can't be absent
	}
	mux.HandleFunc(
		"GET /{$}",
		func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "index.html") },
	)
	for _, name := range []string{"status.js", "status.css"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, name) })
	}
	mux.HandleFunc(
		"GET /status.json",
		func(w http.ResponseWriter, _ *http.Request) { WriteJSON(w, http.StatusOK, status()) },
	)
}

// guard keeps pages of other sites from using a browser on this machine to look at the ops port,
// which asks for no password: by requests across origins, and by a name of theirs that they let
// point here.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && isLoopback(local.String()) &&
			!IsLocalName(r.Host) {
			http.Error(
				w,
				"this port is for operators on this machine: ask for it by localhost or its address",
				http.StatusMisdirectedRequest,
			)
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			http.Error(w, "not for other sites", http.StatusForbidden)
			return
		}
		h := w.Header()
		h.Set(
			"Content-Security-Policy",
			"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
		)
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

// IsLocalName reports whether a Host header names this machine in a way that no other site's page
// can.
func IsLocalName(host string) bool {
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
