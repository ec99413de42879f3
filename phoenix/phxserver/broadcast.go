package phxserver

import "github.com/supabridge/supabridge/phoenix/internal/wire"

// broadcast hands a client's message to the others of its topic.
func (ch *channel) broadcast(m *wire.Message) {
	srv := ch.socket.srv
	if !ch.access.WriteBroadcast {
		return // no answer, even where an acknowledgement was asked for
	}
	out, ok := fanOutForm(m)
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
	except := ch
	if ch.config.self {
		except = nil
	}
	srv.publish(ch.roomKey(), out, except)
	if ch.config.self {
		ch.socket.readMail() // its own copy goes before the answer
	}
	if ch.config.ack && !ch.stopped {
		ch.reply(m.Ref, "ok", emptyObject)
	}
}

// fanOutForm is the message as receivers get it: without refs, and re-encoded
// where it is text. False when it is no object, which the server can't bear.
func fanOutForm(m *wire.Message) (wire.Message, bool) {
	out := wire.Message{Topic: m.Topic, Event: wire.EventBroadcast, Payload: m.Payload, Binary: m.Binary}
	switch m.Kind {
	case wire.UserBroadcastPush:
		out.Kind, out.UserEvent = wire.UserBroadcast, m.UserEvent
		return out, true
	case wire.Push:
		out.Kind = wire.Broadcast
		return out, true
	}
	v, err := decodeJSON(m.Payload)
	if _, isMap := v.(map[string]any); err != nil || !isMap {
		return out, false
	}
	out.Payload = appendJSON(nil, v)
	return out, true
}

// publish fans a broadcast out and counts it. Over the project's limit it is the
// receivers' channels that end.
func (s *Server) publish(key roomKey, m wire.Message, except *channel) {
	told := s.fanOutLimited(key, m, except)
	s.limiter.countEvents(told + 1)
}

func (s *Server) fanOutLimited(key roomKey, m wire.Message, except *channel) int {
	if !s.limiter.eventsExceeded() {
		return s.fanOut(key, m, except)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[key]
	if r == nil {
		return 0
	}
	for ch := range r.members {
		if ch != except {
			ch.socket.leaveMail(mail{do: func() { ch.throttle("Too many messages per second") }})
		}
	}
	return 0
}

// throttle ends the channel for a limit, on the socket's goroutine.
func (ch *channel) throttle(message string) {
	if !ch.stopped {
		ch.shutdown(message)
	}
}
