package wire

import "errors"

// Kind is the form a message had, or is to get, on the wire. The numbers of the
// binary kinds are those of the frame's first byte, plus one.
type Kind uint8

const (
	// Text is a text frame, in both versions and directions.
	Text Kind = iota
	// Push is binary kind 0: client to server with a ref, server to client without.
	Push
	// Reply is binary kind 1, server to client.
	Reply
	// Broadcast is binary kind 2, server to client.
	Broadcast
	// UserBroadcastPush is binary kind 3, client to server.
	UserBroadcastPush
	// UserBroadcast is binary kind 4, server to client.
	UserBroadcast
)

// Events of the protocol that have a meaning of their own.
const (
	EventJoin          = "phx_join"
	EventLeave         = "phx_leave"
	EventReply         = "phx_reply"
	EventClose         = "phx_close"
	EventError         = "phx_error"
	EventHeartbeat     = "heartbeat"
	EventAccessToken   = "access_token"
	EventBroadcast     = "broadcast"
	EventPresence      = "presence"
	EventPresenceState = "presence_state"
	EventPresenceDiff  = "presence_diff"
	EventChanges       = "postgres_changes"
	EventSystem        = "system"

	// TopicPhoenix is the topic of heartbeats.
	TopicPhoenix = "phoenix"
	// TopicPrefix begins every topic of Realtime.
	TopicPrefix = "realtime:"
)

// Message is one Phoenix message.
type Message struct {
	Kind         Kind
	JoinRef, Ref Ref
	Topic, Event string

	// Payload is JSON text, untouched, or raw bytes when Binary is set. For kinds
	// UserBroadcastPush and UserBroadcast it is the user's payload alone and JSON
	// in it is not checked.
	Payload []byte
	// Binary says that Payload is not JSON.
	Binary bool

	// UserEvent is the broadcast's own event name (UserBroadcastPush, UserBroadcast).
	UserEvent string
	// Metadata is the broadcast's metadata, JSON text or empty (same kinds); not checked.
	Metadata []byte
	// Status is the status of a binary Reply.
	Status string
}

var (
	// ErrUnknownKind reports a binary frame whose first byte names no known kind.
	// A reader counts and drops it.
	ErrUnknownKind = errors.New("unknown binary frame kind")
	// ErrNotRepresentable reports a message that the version or direction has no
	// frame for, such as a binary payload in V1. A server skips such a receiver.
	ErrNotRepresentable = errors.New("no frame for this message in this version")
	// ErrTooLong reports a header field over 255 bytes of a binary frame.
	ErrTooLong = errors.New("header field of a binary frame over 255 bytes")
)

// internEvent spares the allocation for the protocol's own events.
func internEvent(b []byte) string {
	switch string(b) {
	case EventChanges:
		return EventChanges
	case EventBroadcast:
		return EventBroadcast
	case EventReply:
		return EventReply
	case EventPresenceDiff:
		return EventPresenceDiff
	case EventPresenceState:
		return EventPresenceState
	case EventSystem:
		return EventSystem
	case EventClose:
		return EventClose
	case EventError:
		return EventError
	case EventHeartbeat:
		return EventHeartbeat
	case EventJoin:
		return EventJoin
	case EventLeave:
		return EventLeave
	case EventAccessToken:
		return EventAccessToken
	case EventPresence:
		return EventPresence
	}
	return string(b)
}

// AppendClient appends the frame a client sends for m and tells whether it is a
// binary one. Kinds: Text, Push, UserBroadcastPush; in V1 a UserBroadcastPush with
// a JSON payload becomes its text form, a binary one is ErrNotRepresentable. Text
// carries Payload as it is: it must be valid JSON. On error dst is returned as it was.
func AppendClient(dst []byte, v Version, m *Message) (frame []byte, binary bool, err error) {
	switch {
	case m.Kind == Text && !m.Binary:
		if v == V1 {
			return appendClientObject(dst, m, m.Payload), false, nil
		}
		return appendArray(dst, m), false, nil
	case v == V1 && m.Kind == UserBroadcastPush && !m.Binary:
		return appendClientObject(dst, m, appendEnvelope(nil, m)), false, nil
	case v == V2 && m.Kind == UserBroadcastPush:
		frame, err = appendUserBroadcastPush(dst, m)
		return frame, true, err
	case v == V2 && m.Kind == Push:
		frame, err = appendClientPush(dst, m)
		return frame, true, err
	}
	return dst, false, ErrNotRepresentable
}

// AppendServer appends the frame a server sends for m and tells whether it is a
// binary one. V1 frames never carry the join_ref. Kinds: Text, Push, Reply,
// Broadcast, UserBroadcast; in V1 a UserBroadcast with a JSON payload becomes its
// text form, spliced in unchecked as the real server does, and everything binary
// is ErrNotRepresentable. On error dst is returned as it was.
func AppendServer(dst []byte, v Version, m *Message) (frame []byte, binary bool, err error) {
	switch {
	case m.Kind == Text && !m.Binary:
		if v == V1 {
			return appendServerObject(dst, m, m.Payload), false, nil
		}
		return appendArray(dst, m), false, nil
	case v == V1 && m.Kind == UserBroadcast && !m.Binary:
		return appendServerObject(dst, m, appendEnvelope(nil, m)), false, nil
	case v == V2 && m.Kind != Text && m.Kind != UserBroadcastPush:
		frame, err = appendServerBinary(dst, m)
		return frame, true, err
	}
	return dst, false, ErrNotRepresentable
}
