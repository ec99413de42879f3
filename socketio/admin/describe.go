package admin

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/supabridge/supabridge/socketio"
)

// describe is a socket as the UI shows it.
func (a *Admin) describe(s *socketio.Socket) map[string]any {
	h := s.Handshake()
	headers := make(map[string]string)
	for _, name := range shownHeaders {
		if value := h.Header.Get(name); value != "" {
			headers[strings.ToLower(name)] = value
		}
	}
	address := h.RemoteAddr
	for _, name := range []string{"X-Forwarded-For", "Cf-Connecting-Ip"} {
		if value := h.Header.Get(name); value != "" {
			address = value
		}
	}
	query := make(map[string]string)
	shown := make(url.Values)
	for name, value := range h.Query {
		if !slices.Contains(shownParameters, name) {
			value = "…"
		}
		query[name] = value
		shown.Set(name, value)
	}
	path, _, _ := strings.Cut(h.URL, "?")
	var data any = struct{}{}
	if a.opts.Data != nil && s.Namespace() != a.space {
		data = a.opts.Data(s)
	}
	rooms := s.Rooms()
	if a.opts.HideRoom != nil {
		rooms = slices.DeleteFunc(rooms, a.opts.HideRoom)
	}
	return map[string]any{
		"id": s.ID(), "clientId": s.ConnectionID(), "transport": s.Transport(), "nsp": s.Namespace().Name(), "data": data,
		"rooms": append([]string{}, rooms...), // an array even where there is none
		"handshake": map[string]any{
			"address": address, "headers": headers, "query": query, "issued": h.Time.UnixMilli(), "secure": h.Secure,
			"time": h.Time.UTC().
				Format(http.TimeFormat),
			"url": path + "?" + shown.Encode(), "xdomain": h.Header.Get("Origin") != "",
		},
	}
}

// shownHeaders and shownParameters are what is shown of a request: of what isn't named here, any
// may be a credential.
var (
	shownHeaders = []string{
		"Host", "Origin", "User-Agent", "Accept-Language", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
		"Cf-Connecting-Ip", "X-Request-Id", "Upgrade",
	}
	shownParameters = []string{"EIO", "transport", "t", "b64"}
)

// describeAll describes the sockets of all namespaces, as many as an admin is told of.
func (a *Admin) describeAll() []map[string]any {
	list := []map[string]any{}
	for _, space := range a.io.Namespaces() {
		for _, s := range space.Local().Sockets() {
			if len(list) == maxListed {
				return list
			}
			list = append(list, a.describe(s))
		}
	}
	return list
}

// aggregate is how the protocol writes a tally.
type aggregate struct {
	Timestamp int64  `json:"timestamp"` // milliseconds
	Type      string `json:"type"`
	SubType   string `json:"subType,omitempty"`
	Count     int    `json:"count"`
}

// tallies takes what was counted since it was asked last.
func (a *Admin) tallies() []aggregate {
	now := a.io.Traffic()
	a.mu.Lock()
	was := a.traffic
	a.traffic = now
	a.mu.Unlock()
	a.count("packetsIn", "", int(now.PacketsIn-was.PacketsIn))
	a.count("packetsOut", "", int(now.PacketsOut-was.PacketsOut))
	a.count("bytesIn", "", int(now.BytesIn-was.BytesIn))
	a.count("bytesOut", "", int(now.BytesOut-was.BytesOut))
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]aggregate, 0, len(a.counted))
	for t, n := range a.counted {
		list = append(list, aggregate{t.second * 1000, t.kind, t.subKind, n})
	}
	clear(a.counted)
	return list
}

// stats are the figures of this server.
func (a *Admin) stats(counted []aggregate) map[string]any {
	by := a.io.ConnectionsByTransport()
	var spaces []map[string]any
	named := make(map[string]*socketio.Namespace)
	for _, n := range a.io.Namespaces() {
		named[n.Name()] = n
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		spaces = append(spaces, map[string]any{"name": name, "socketsCount": named[name].SocketsCount()})
	}
	if counted == nil {
		counted = []aggregate{}
	}
	return map[string]any{
		"serverId": a.id, "hostname": a.host, "pid": os.Getpid(), "uptime": time.Since(a.started).Seconds(),
		"clientsCount": by[socketio.Polling] + by[socketio.WebSocket], "pollingClientsCount": by[socketio.Polling],
		"aggregatedEvents": counted, "namespaces": spaces,
	}
}
