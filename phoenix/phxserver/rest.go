package phxserver

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// maxBroadcastBody is the largest body of a REST broadcast.
const maxBroadcastBody = 8_000_000

// restPath is what the paths of REST broadcasts have in common; what a gateway
// puts before it doesn't matter.
const restPath = "/api/broadcast"

// BroadcastHandler serves broadcasts over REST: POST …/api/broadcast with a batch
// of messages, and POST …/api/broadcast/{topic}/events/{event} with one payload.
// The token comes as "Authorization: Bearer", else in the header apikey.
func (s *Server) BroadcastHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, ok := strings.Cut(r.URL.EscapedPath(), restPath)
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		if err := s.disturbRequest(r, "rest"); err != nil {
			writeJSON(w, err.Status, map[string]any{"message": err.Message})
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBroadcastBody))
		if err != nil {
			http.Error(w, "Request Entity Too Large", http.StatusRequestEntityTooLarge)
			return
		}
		if rest == "" || rest == "/" {
			s.broadcastBatch(w, r, body)
			return
		}
		topic, event, ok := singlePath(rest)
		if !ok {
			http.NotFound(w, r)
			return
		}
		s.broadcastSingle(w, r, body, topic, event)
	})
}

// singlePath reads /{topic}/events/{event}, percent-encoded.
func singlePath(path string) (topic, event string, ok bool) {
	parts := strings.Split(path, "/")
	if len(parts) != 4 || parts[2] != "events" {
		return "", "", false
	}
	topic, err1 := url.PathUnescape(parts[1])
	event, err2 := url.PathUnescape(parts[3])
	return topic, event, err1 == nil && err2 == nil && topic != "" && event != ""
}

// restClaims authenticates a request; when it says no it has answered.
func (s *Server) restClaims(w http.ResponseWriter, r *http.Request) (Claims, bool) {
	s.rateHeaders(w)
	token := r.Header.Get("Apikey")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		token = bearer
	}
	claims, err := s.backend.Verify(r.Context(), token)
	if token == "" || err != nil {
		writeJSON(w, http.StatusUnauthorized, map[string]any{"message": "Unauthorized"})
		return claims, false
	}
	if s.limiter.eventsExceeded() {
		writeJSON(w, http.StatusTooManyRequests, map[string]any{"message": "You have exceeded your rate limit"})
		return claims, false
	}
	return claims, true
}

func (s *Server) rateHeaders(w http.ResponseWriter) {
	average, limit := s.limiter.rolling()
	if limit <= 0 {
		return
	}
	w.Header().Set("X-Rate-Rolling", strconv.Itoa(average))
	w.Header().Set("X-Rate-Limit", strconv.Itoa(limit))
	w.Header().Set("X-Rate-Limit-Remaining", strconv.Itoa(max(limit-average, 0)))
}

// restMessage is one message of a batch.
type restMessage struct {
	topic, event string
	payload      map[string]any
	private      bool
	id           any
}

func (s *Server) broadcastBatch(w http.ResponseWriter, r *http.Request, body []byte) {
	v, err := decodeJSON(body)
	if err != nil {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	claims, ok := s.restClaims(w, r)
	if !ok {
		return
	}
	messages, problems := s.readBatch(v)
	if problems != nil {
		writeJSON(w, http.StatusUnprocessableEntity, map[string]any{"errors": map[string]any{"messages": problems}})
		return
	}
	for _, m := range messages {
		if !s.mayBroadcast(r, claims, m.topic, m.private) {
			continue // skipped without a word
		}
		envelope := map[string]any{"type": "broadcast", "event": m.event, "payload": m.payload}
		if m.id != nil {
			envelope["meta"] = map[string]any{"id": m.id}
		}
		s.publish(roomKey{wire.TopicPrefix + m.topic, m.private}, wire.Message{
			Topic: wire.TopicPrefix + m.topic, Event: wire.EventBroadcast, Payload: appendJSON(nil, envelope),
		}, nil, true)
	}
	w.WriteHeader(http.StatusAccepted)
}

// readBatch checks a batch; problems go one to a message, or are one for all.
func (s *Server) readBatch(body any) ([]restMessage, []any) {
	params, _ := body.(map[string]any)
	list, _ := params["messages"].([]any)
	if len(list) == 0 {
		return nil, []any{"can't be blank"}
	}
	var messages []restMessage
	problems := make([]any, len(list))
	failed := false
	for i, item := range list {
		m, problem := s.readMessage(item)
		problems[i] = problem
		failed = failed || len(problem) > 0
		messages = append(messages, m)
	}
	if failed {
		return nil, problems
	}
	return messages, nil
}

func (s *Server) readMessage(item any) (m restMessage, problem map[string]any) {
	problem = make(map[string]any)
	fields, _ := item.(map[string]any)
	text := func(name string) string {
		v, isString := fields[name].(string)
		switch {
		case fields[name] == nil || isString && strings.TrimSpace(v) == "":
			problem[name] = []any{"can't be blank"}
		case !isString:
			problem[name] = []any{"is invalid"}
		}
		return v
	}
	m.topic, m.event = text("topic"), text("event")
	payload, present := fields["payload"]
	var isMap bool
	m.payload, isMap = payload.(map[string]any)
	switch {
	case !present || payload == nil:
		problem["payload"] = []any{"can't be blank"}
	case !isMap:
		problem["payload"] = []any{"is invalid"}
	case s.limiter.tooLarge(len(appendJSON(nil, m.payload))):
		problem["payload"] = []any{"Payload size exceeds tenant limit"}
	}
	m.private = truthy(fields["private"])
	m.id = fields["id"]
	return m, problem
}

// mayBroadcast asks for the right to write to a private topic; public ones are open.
func (s *Server) mayBroadcast(r *http.Request, c Claims, topic string, private bool) bool {
	if !private {
		return true
	}
	access, err := s.backend.Authorize(r.Context(), c, topic)
	return err == nil && access.WriteBroadcast
}

func (s *Server) broadcastSingle(w http.ResponseWriter, r *http.Request, body []byte, topic, event string) {
	claims, ok := s.restClaims(w, r)
	if !ok {
		return
	}
	m := wire.Message{
		Kind: wire.UserBroadcast, Topic: wire.TopicPrefix + topic, Event: wire.EventBroadcast, UserEvent: event,
		Payload: body,
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch strings.TrimSpace(kind) {
	case "application/octet-stream":
		m.Binary = true
	case "application/json":
		v, err := decodeJSON(body)
		if err != nil {
			http.Error(w, "Bad Request", http.StatusBadRequest)
			return
		}
		if _, isMap := v.(map[string]any); !isMap {
			v = map[string]any{"_json": v}
		}
		m.Payload = appendJSON(nil, v)
	default:
		writeJSON(w, http.StatusUnsupportedMediaType, map[string]any{"error": "Unsupported Media Type"})
		return
	}
	if s.limiter.tooLarge(len(body)) {
		writeJSON(
			w,
			http.StatusUnprocessableEntity,
			map[string]any{"errors": map[string]any{"payload": []any{"Payload size exceeds tenant limit"}}},
		)
		return
	}
	private := truthy(r.URL.Query().Get("private"))
	if !s.mayBroadcast(r, claims, topic, private) {
		writeJSON(w, http.StatusForbidden, map[string]any{"message": "Unauthorized"})
		return
	}
	s.publish(roomKey{m.Topic, private}, m, nil, true)
	w.WriteHeader(http.StatusAccepted)
}
