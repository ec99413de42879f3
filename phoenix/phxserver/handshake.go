package phxserver

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

func anyOrigin(*http.Request) bool { return true }

// ServeHTTP is the WebSocket endpoint, mounted at /socket/websocket, and at
// /realtime/v1/websocket where a gateway would be. It returns once the connection
// is handed over to its own two goroutines, or refused.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	version, err := wire.ParseVersion(query.Get("vsn"))
	if err != nil {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	h := Handshake{Host: r.Host, APIKey: r.Header.Get("X-Api-Key"), Header: r.Header}
	if h.APIKey == "" {
		h.APIKey = query.Get("apikey")
	}
	claims, err := s.admit(r, h)
	if err != nil {
		s.refuseHandshake(w, r, err)
		return
	}
	if !websocket.IsWebSocketUpgrade(r) {
		refuseUpgrade(w, r)
		return
	}
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	sock := newSocket(s, conn, version, h.APIKey, claims)
	if err := s.register(sock); err != nil {
		conn.Close()
		return
	}
	go sock.read()
	go sock.run()
}

// refuseUpgrade answers a request that wants no WebSocket.
func refuseUpgrade(w http.ResponseWriter, r *http.Request) {
	header := "connection"
	want := "upgrade"
	if strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Connection"), ",")), want) {
		header, want = "upgrade", "websocket"
	}
	var got []string
	for _, v := range r.Header.Values(header) {
		for item := range strings.SplitSeq(v, ",") {
			got = append(got, strings.TrimSpace(item))
		}
	}
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(w, "'%s' header must contain '%s', got %s", header, want, inspectStrings(got))
}

func (s *Server) admit(r *http.Request, h Handshake) (Claims, error) {
	if err := s.disturbRequest(r, "connect"); err != nil {
		return Claims{}, err
	}
	if err := s.limiter.admitSocket(s.Connected()); err != nil {
		return Claims{}, err
	}
	return s.backend.Connect(r.Context(), h)
}

// Connected counts the sockets that have joined a channel: what a plan limits as concurrent
// clients.
func (s *Server) Connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for sock := range s.sockets {
		if sock.joined {
			n++
		}
	}
	return n
}

func (s *Server) refuseHandshake(w http.ResponseWriter, r *http.Request, err error) {
	refused := &RefusedError{Status: http.StatusInternalServerError, Message: "Error connecting to Realtime"}
	errors.As(err, &refused)
	s.log.Info("handshake refused", "status", refused.Status, "reason", refused.Message)
	if d := s.opts.Timing.ConnectError; d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
		}
	}
	writeJSON(w, refused.Status, map[string]any{"error": refused.Message})
}

func writeJSON(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(appendJSON(nil, body)) // the client may be gone
}
