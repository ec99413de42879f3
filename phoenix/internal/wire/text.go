package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

var (
	errUTF8     = errors.New("text frame is not UTF-8")
	errTrailing = errors.New("text after the frame's value")
	errShort    = errors.New("array of fewer than 5 elements")
	errName     = errors.New("topic and event must be strings")
)

// DecodeServerText reads a text frame as a server sends it. Payload aliases frame.
func DecodeServerText(v Version, frame []byte) (Message, error) {
	return decodeText(v, frame, false)
}

// DecodeClientText reads a text frame as a client sends it. V1 needs the keys
// topic, event, payload and ref all present; V2 accepts elements after the fifth.
// A server drops what is refused here without a word. Payload aliases frame.
func DecodeClientText(v Version, frame []byte) (Message, error) {
	return decodeText(v, frame, true)
}

func decodeText(v Version, frame []byte, fromClient bool) (m Message, err error) {
	switch {
	case !utf8.Valid(frame):
		err = errUTF8
	case v == V1:
		m, err = decodeObject(frame, fromClient)
	default:
		m, err = decodeArray(frame)
	}
	if err != nil {
		return Message{}, fmt.Errorf("decode %s text frame: %w", v, err)
	}
	return m, nil
}

// decodeArray reads [join_ref, ref, topic, event, payload, …].
func decodeArray(frame []byte) (Message, error) {
	var m Message
	i := skipSpace(frame, 0)
	if i >= len(frame) || frame[i] != '[' {
		return m, errors.New("not an array")
	}
	i = skipSpace(frame, i+1)
	for n := 0; ; n++ {
		end, err := endOfValue(frame, i)
		if err != nil {
			return m, err
		}
		if err := m.setElement(n, frame[i:end]); err != nil {
			return m, err
		}
		i = skipSpace(frame, end)
		if i >= len(frame) {
			return m, syntaxError(i)
		}
		switch frame[i] {
		case ',':
			i = skipSpace(frame, i+1)
		case ']':
			if n < 4 {
				return m, errShort
			}
			if skipSpace(frame, i+1) != len(frame) {
				return m, errTrailing
			}
			return m, nil
		default:
			return m, syntaxError(i)
		}
	}
}

func (m *Message) setElement(n int, v []byte) (err error) {
	switch n {
	case 0:
		m.JoinRef, err = parseRef(v)
	case 1:
		m.Ref, err = parseRef(v)
	case 2:
		m.Topic, err = parseName(v, nil)
	case 3:
		m.Event, err = parseName(v, internEvent)
	case 4:
		m.Payload = v
	}
	return err
}

func parseName(v []byte, intern func([]byte) string) (string, error) {
	if v[0] != '"' {
		return "", errName
	}
	if intern != nil {
		inner := v[1 : len(v)-1]
		escaped := false
		for _, c := range inner {
			if c == '\\' {
				escaped = true
				break
			}
		}
		if !escaped {
			return intern(inner), nil
		}
	}
	return Unquote(v)
}

// decodeObject reads {"topic","event","payload","ref","join_ref"} in any order.
// Unknown keys are ignored; of a repeated key the last one counts.
func decodeObject(frame []byte, fromClient bool) (Message, error) {
	var m Message
	end, err := endOfValue(frame, skipSpace(frame, 0))
	if err != nil {
		return m, err
	}
	if skipSpace(frame, end) != len(frame) {
		return m, errTrailing
	}
	var topic, event, payload, ref bool
	it := WalkObject(frame)
	for it.Next() {
		switch string(it.Key) {
		case "topic":
			topic = true
			m.Topic, err = parseName(it.Value, nil)
		case "event":
			event = true
			m.Event, err = parseName(it.Value, internEvent)
		case "payload":
			payload = true
			m.Payload = it.Value
		case "ref":
			ref = true
			m.Ref, err = parseRef(it.Value)
		case "join_ref":
			m.JoinRef, err = parseRef(it.Value)
		}
		if err != nil {
			return m, err
		}
	}
	if err := it.Err(); err != nil {
		return m, err
	}
	if !topic || !event || !payload || fromClient && !ref {
		return m, errors.New("object lacks one of topic, event, payload, ref")
	}
	return m, nil
}

func appendArray(dst []byte, m *Message) []byte {
	dst = append(dst, '[')
	dst = m.JoinRef.AppendJSON(dst)
	dst = append(dst, ',')
	dst = m.Ref.AppendJSON(dst)
	dst = append(dst, ',')
	dst = AppendString(dst, m.Topic)
	dst = append(dst, ',')
	dst = AppendString(dst, m.Event)
	dst = append(dst, ',')
	dst = appendPayload(dst, m.Payload)
	return append(dst, ']')
}

func appendClientObject(dst []byte, m *Message, payload []byte) []byte {
	dst = append(dst, `{"topic":`...)
	dst = AppendString(dst, m.Topic)
	dst = append(dst, `,"event":`...)
	dst = AppendString(dst, eventOf(m))
	dst = append(dst, `,"payload":`...)
	dst = appendPayload(dst, payload)
	dst = append(dst, `,"ref":`...)
	dst = m.Ref.AppendJSON(dst)
	dst = append(dst, `,"join_ref":`...)
	dst = m.JoinRef.AppendJSON(dst)
	return append(dst, '}')
}

func appendServerObject(dst []byte, m *Message, payload []byte) []byte {
	dst = append(dst, `{"ref":`...)
	dst = m.Ref.AppendJSON(dst)
	dst = append(dst, `,"event":`...)
	dst = AppendString(dst, eventOf(m))
	dst = append(dst, `,"payload":`...)
	dst = appendPayload(dst, payload)
	dst = append(dst, `,"topic":`...)
	dst = AppendString(dst, m.Topic)
	return append(dst, '}')
}

// appendPayload writes an absent payload as the empty object, as Phoenix does.
func appendPayload(dst, payload []byte) []byte {
	if len(payload) == 0 {
		return append(dst, '{', '}')
	}
	return append(dst, payload...)
}

// eventOf is the event of the text form: user broadcasts are all "broadcast".
func eventOf(m *Message) string {
	if m.Kind == UserBroadcastPush || m.Kind == UserBroadcast {
		return EventBroadcast
	}
	return m.Event
}

// appendEnvelope is the text form of a user broadcast, keys in the server's order.
func appendEnvelope(dst []byte, m *Message) []byte {
	dst = append(dst, `{"event":`...)
	dst = AppendString(dst, m.UserEvent)
	if len(m.Metadata) > 0 {
		dst = append(dst, `,"meta":`...)
		dst = append(dst, m.Metadata...)
	}
	dst = append(dst, `,"payload":`...)
	dst = append(dst, m.Payload...)
	return append(dst, `,"type":"broadcast"}`...)
}
