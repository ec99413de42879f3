package phxserver

import (
	"strings"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// channel is one joined topic of one socket. The socket's goroutine owns it, except
// for meta. topic, sub, joinRef, config and presenceKey don't change once it has
// joined.
type channel struct {
	socket  *socket
	topic   string // with the prefix
	sub     string // without
	joinRef wire.Ref
	config  joinConfig

	token  string
	claims Claims
	access Access // all true on a public channel; written under srv.mu, which others read it under

	room *room
	meta *presenceMeta // guarded by srv.mu: what this channel tracks

	presenceKey   string
	presenceCalls []time.Time // the latest ones, for the client's limit
	replayed      map[string]bool

	expiry    *time.Timer
	subscribe *time.Timer
	stopped   bool
}

// handle takes a message for the channel. A join_ref that isn't the channel's
// matters for a leave alone.
func (ch *channel) handle(m *wire.Message) {
	switch m.Event {
	case wire.EventLeave:
		if m.JoinRef == ch.joinRef {
			ch.leave(m)
		}
	case wire.EventBroadcast:
		ch.broadcast(m)
	case wire.EventPresence:
		ch.presence(m)
	case wire.EventAccessToken:
		ch.renew(m)
	}
}

func (ch *channel) leave(m *wire.Message) {
	ch.drop()
	ch.reply(m.Ref, "ok", emptyObject)
	ch.push(wire.EventClose, emptyObject)
}

// reply answers a push of the client's.
func (ch *channel) reply(ref wire.Ref, status string, response []byte) {
	ch.socket.reply(ch.joinRef, ref, ch.topic, status, response)
}

// push sends an event of the channel's own: its join_ref, no ref, but for the two
// that end the channel, whose ref is the join_ref.
func (ch *channel) push(event string, payload []byte) {
	m := wire.Message{JoinRef: ch.joinRef, Topic: ch.topic, Event: event, Payload: payload}
	if event == wire.EventClose || event == wire.EventError {
		m.Ref = ch.joinRef
	}
	ch.socket.send(m)
}

// system sends a system event.
func (ch *channel) system(extension, status, message string) {
	p := wire.AppendString([]byte(`{"message":`), message)
	p = wire.AppendString(append(p, `,"status":`...), status)
	p = wire.AppendString(append(p, `,"extension":`...), extension)
	p = wire.AppendString(append(p, `,"channel":`...), ch.sub)
	ch.push(wire.EventSystem, append(p, '}'))
}

// shutdown ends the channel as the server does on its own account: the reason in
// a system event, then phx_close.
func (ch *channel) shutdown(message string) {
	ch.drop()
	ch.system("system", "error", message)
	ch.push(wire.EventClose, emptyObject)
}

// crash ends the channel as a failure in its process does.
func (ch *channel) crash() {
	ch.drop()
	ch.push(wire.EventError, []byte(`{"reason":"channel_crash"}`))
}

// drop forgets the channel. It comes before the client is told: who has read a
// phx_close gets nothing more.
func (ch *channel) drop() {
	if ch.socket.channels[ch.topic] == ch {
		delete(ch.socket.channels, ch.topic)
	}
	ch.stop()
}

// stop takes the channel out of its room and its feed.
func (ch *channel) stop() {
	if ch.stopped {
		return
	}
	ch.stopped = true
	stopTimer(ch.expiry)
	stopTimer(ch.subscribe)
	ch.socket.srv.feed.remove(ch)
	ch.socket.srv.leaveRoom(ch)
}

func stopTimer(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// subTopic is the topic as clients and policies name it.
func subTopic(topic string) string { return strings.TrimPrefix(topic, wire.TopicPrefix) }
