package phxserver

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"sort"
	"strings"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// presenceMeta is what one channel tracks. It doesn't change: an update is a new one.
type presenceMeta struct {
	key, ref, prev string
	fields         []byte // the members of the tracked object, without braces
}

// appendJSON appends the meta as clients see it: phx_ref first, then what was tracked.
func (p *presenceMeta) appendJSON(dst []byte) []byte {
	dst = wire.AppendString(append(dst, `{"phx_ref":`...), p.ref)
	if p.prev != "" {
		dst = wire.AppendString(append(dst, `,"phx_ref_prev":`...), p.prev)
	}
	if len(p.fields) > 0 {
		dst = append(append(dst, ','), p.fields...)
	}
	return append(dst, '}')
}

// newPresenceRef makes a ref that is not made twice.
func newPresenceRef() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.URLEncoding.EncodeToString(b[:])
}

// presence answers track and untrack.
func (ch *channel) presence(m *wire.Message) {
	v, err := decodeJSON(m.Payload)
	params, isMap := v.(map[string]any)
	if err != nil || !isMap {
		ch.crash()
		return
	}
	event, _ := params["event"].(string)
	_, named := params["event"]
	switch {
	case !named:
		ch.reply(m.Ref, "ok", emptyObject)
	case strings.EqualFold(event, "track"):
		ch.track(m, params)
	case strings.EqualFold(event, "untrack"):
		if ch.mayTrack(m) {
			ch.reply(m.Ref, "ok", emptyObject)
			ch.socket.srv.untrack(ch)
		}
	default:
		ch.reply(m.Ref, "error", emptyObject)
	}
}

// mayTrack checks the right and the limits; when it says no it has answered.
func (ch *channel) mayTrack(m *wire.Message) bool {
	if !ch.access.WritePresence {
		ch.reply(m.Ref, "error", emptyObject)
		return false
	}
	srv := ch.socket.srv
	now := time.Now()
	if srv.limiter.presenceCallsExceeded(&ch.presenceCalls, now) {
		ch.shutdown("Client presence rate limit exceeded")
		return false
	}
	if !srv.limiter.admitPresence(now) {
		ch.shutdown("Too many presence messages per second")
		return false
	}
	return true
}

func (ch *channel) track(m *wire.Message, params map[string]any) {
	if !ch.mayTrack(m) {
		return
	}
	payload, present := params["payload"]
	fields, isMap := payload.(map[string]any)
	if present && !isMap {
		ch.reply(m.Ref, "error", reason("Presence track payload must be a map"))
		return
	}
	if ch.socket.srv.limiter.tooLarge(len(m.Payload)) {
		ch.shutdown("Track message size exceeded")
		return
	}
	ch.reply(m.Ref, "ok", emptyObject)
	ch.socket.srv.track(ch, appendMembers(nil, fields))
}

// track sets what the channel shows to its room. What is shown already changes nothing.
func (s *Server) track(ch *channel, fields []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, old := ch.room, ch.meta
	if old != nil && bytes.Equal(old.fields, fields) {
		return
	}
	fresh := &presenceMeta{key: ch.presenceKey, ref: newPresenceRef(), fields: fields}
	if old != nil {
		fresh.prev = old.ref
		r.remove(old)
	}
	r.present = append(r.present, fresh)
	ch.meta = fresh
	s.tellDiff(r, fresh, old)
}

func (s *Server) untrack(ch *channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone := ch.meta; gone != nil {
		ch.room.remove(gone)
		ch.meta = nil
		s.tellDiff(ch.room, nil, gone)
	}
}

func (r *room) remove(gone *presenceMeta) {
	for i, p := range r.present {
		if p == gone {
			r.present = append(r.present[:i:i], r.present[i+1:]...)
			return
		}
	}
}

// tellDiff tells the room who came and who went; nil is nobody. Server.mu is held.
func (s *Server) tellDiff(r *room, joined, left *presenceMeta) {
	p := appendPresences([]byte(`{"joins":`), one(joined))
	p = appendPresences(append(p, `,"leaves":`...), one(left))
	m := wire.Message{Topic: r.key.topic, Event: wire.EventPresenceDiff, Payload: append(p, '}')}
	r.tell(m, func(ch *channel) bool { return ch.access.ReadPresence })
}

func one(p *presenceMeta) []*presenceMeta {
	if p == nil {
		return nil
	}
	return []*presenceMeta{p}
}

// presenceState is who is in the channel's room.
func (s *Server) presenceState(ch *channel) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return appendPresences(nil, ch.room.present)
}

// appendPresences appends metas by key, keys sorted, metas in the order they came.
func appendPresences(dst []byte, metas []*presenceMeta) []byte {
	byKey := make(map[string][]*presenceMeta)
	for _, p := range metas {
		byKey[p.key] = append(byKey[p.key], p)
	}
	keys := make([]string, 0, len(byKey))
	for k := range byKey {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(wire.AppendString(dst, k), `:{"metas":[`...)
		for j, p := range byKey[k] {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = p.appendJSON(dst)
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, '}')
}
