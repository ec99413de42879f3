package phxserver

import "github.com/supabridge/supabridge/phoenix/internal/wire"

// broadcast hands a client's message to the others of its topic.
func (ch *channel) broadcast(m *wire.Message) {
	srv := ch.socket.srv
	if !ch.access.WriteBroadcast {
		return // no answer, even where an acknowledgement was asked for
	}
	out, ok := fanOutForm(ch.socket.version, m)
	if !ok {
		ch.crash()
		return
	}
	if srv.limiter.tooLarge(len(m.Payload)) {
		if ch.config.ack {
			ch.reply(m.Ref, "error", []byte(`"payload_size_exceeded"`))
		}
		return
	}
	srv.publish(ch.roomKey(), out, ch, ch.config.self)
	if ch.config.self {
		ch.socket.readMail() // its own copy goes before the answer
	}
	if ch.config.ack && !ch.stopped {
		ch.reply(m.Ref, "ok", emptyObject)
	}
}

// fanOutForm is the message as receivers get it: without refs, and re-encoded
// where it is text. False when it is no object, which the server of version 2.0.0
// can't bear.
func fanOutForm(v wire.Version, m *wire.Message) (wire.Message, bool) {
	out := wire.Message{Topic: m.Topic, Event: wire.EventBroadcast, Payload: m.Payload, Binary: m.Binary}
	switch m.Kind {
	case wire.UserBroadcastPush:
		out.Kind, out.UserEvent = wire.UserBroadcast, m.UserEvent
		return out, true
	case wire.Push:
		out.Kind = wire.Broadcast
		return out, true
	}
	payload, err := decodeJSON(m.Payload)
	if _, isMap := payload.(map[string]any); err != nil || v == wire.V2 && !isMap {
		return out, false
	}
	out.Payload = appendJSON(nil, payload)
	return out, true
}

// publish fans a broadcast out and counts it. Over the project's limit the channels
// that got it end, and the sender's stays.
func (s *Server) publish(key roomKey, m wire.Message, sender *channel, self bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := 0
	if r := s.rooms[key]; r != nil {
		told = r.tell(m, func(ch *channel) bool { return self || ch != sender })
		if s.limiter.eventsExceeded() || s.faults.strike(subTopic(key.topic), m.Event, "out", Throttle) != nil {
			for ch := range r.members {
				if ch != sender {
					ch.socket.leaveMail(mail{do: func() { ch.throttle("Too many messages per second") }})
				}
			}
		}
	}
	s.limiter.countEvents(told + 1)
}

// throttle ends the channel for a limit, on the socket's goroutine.
func (ch *channel) throttle(message string) {
	if !ch.stopped {
		ch.shutdown(message)
	}
}
