package phxserver

import (
	"time"

	"github.com/google/uuid"
	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

const (
	// maxReplay is the most messages one join gets.
	maxReplay = 25
	// keptMessages and keptFor bound what is kept for replay: messages of a topic,
	// and their age.
	keptMessages = 200
	keptFor      = 72 * time.Hour
	// keptTopics bounds the topics with messages kept.
	keptTopics = 1000
)

// DatabaseMessage is a broadcast sent from within the database, as by the SQL
// function realtime.send.
type DatabaseMessage struct {
	// Topic comes without the prefix "realtime:".
	Topic, Event string
	// Private is the kind of channels that get it. Private messages are kept for
	// replay.
	Private bool
	// Payload is JSON, or anything when Binary is set.
	Payload []byte
	Binary  bool
}

// keptMessage is a private message kept for replay.
type keptMessage struct {
	DatabaseMessage
	id string
	at time.Time
}

// Send broadcasts a message from the database and returns the id it got. An
// object without an id gets that id as a member, as realtime.send does it.
// Receivers with protocol version 2.0.0 get it as a binary frame.
func (s *Server) Send(m DatabaseMessage) (id string, err error) {
	id = uuid.NewString()
	if !m.Binary {
		v, err := decodeJSON(m.Payload)
		if err != nil {
			return "", err
		}
		if object, ok := v.(map[string]any); ok {
			if _, has := object["id"]; !has {
				object["id"] = id
			}
		}
		m.Payload = appendJSONB(nil, v)
	}
	d := &delivery{msg: wire.Message{
		Kind: wire.UserBroadcast, Topic: wire.TopicPrefix + m.Topic, Event: wire.EventBroadcast,
		UserEvent: m.Event, Metadata: appendJSON(nil, map[string]any{"id": id}),
		Payload: m.Payload, Binary: m.Binary,
	}}
	stalled := s.faults.strike(m.Topic, wire.EventBroadcast, "out", Stall) != nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if stalled {
		return id, nil // the database has sent it
	}
	if m.Private {
		s.keep(keptMessage{m, id, time.Now()})
	}
	r := s.rooms[roomKey{wire.TopicPrefix + m.Topic, m.Private}]
	if r == nil {
		return id, nil
	}
	for ch := range r.members {
		ch.socket.leaveMail(mail{out: d, do: func() {
			if !ch.replayed[id] { // else it has just been replayed
				ch.socket.deliver(d)
			}
		}})
	}
	return id, nil
}

// keep stores a message for replay. Server.mu is held.
func (s *Server) keep(m keptMessage) {
	list, known := s.kept[m.Topic]
	if !known && len(s.kept) >= keptTopics {
		for topic := range s.kept { // any one goes
			delete(s.kept, topic)
			break
		}
	}
	list = append(list, m)
	if len(list) > keptMessages {
		list = append(list[:0:0], list[len(list)-keptMessages:]...)
	}
	s.kept[m.Topic] = list
}

// replay sends the kept messages that the join asked for, oldest first.
func (ch *channel) replay() {
	if ch.config.replay == nil {
		return
	}
	since, limit, _ := replayRequest(ch.config.replay)
	ch.replayed = make(map[string]bool)
	for _, m := range ch.socket.srv.keptSince(ch.sub, time.UnixMilli(since), limit) {
		ch.replayed[m.id] = true
		meta := map[string]any{"id": m.id, "replayed": true}
		if m.Binary {
			ch.socket.send(wire.Message{
				Kind: wire.UserBroadcast, Topic: ch.topic, Event: wire.EventBroadcast,
				UserEvent: m.Event, Metadata: appendJSON(nil, meta), Payload: m.Payload, Binary: true,
			})
			continue
		}
		payload, _ := decodeJSON(m.Payload) // was decoded when it was sent
		ch.push(wire.EventBroadcast, appendJSON(nil, map[string]any{
			"type": "broadcast", "event": m.Event, "payload": payload, "meta": meta,
		}))
	}
}

func (s *Server) keptSince(topic string, since time.Time, limit int) []keptMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.kept[topic]
	if oldest := time.Now().Add(-keptFor); since.Before(oldest) {
		since = oldest
	}
	for len(list) > 0 && list[0].at.Before(since) {
		list = list[1:]
	}
	if len(list) > limit {
		list = list[len(list)-limit:]
	}
	return append([]keptMessage(nil), list...)
}
