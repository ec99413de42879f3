package wire

import (
	"errors"
	"fmt"
)

// First bytes of binary frames.
const (
	bytePush              = 0
	byteReply             = 1
	byteBroadcast         = 2
	byteUserBroadcastPush = 3
	byteUserBroadcast     = 4

	encodingBinary = 0
	encodingJSON   = 1
)

var (
	errTruncated = errors.New("frame shorter than its header says")
	errV1Binary  = errors.New("version 1.0.0 has no binary frames")
)

// DecodeServerBinary reads a binary frame as a server sends it (kinds 0, 1, 2, 4).
// Payload and Metadata alias frame; a JSON payload is not checked. A frame of
// another kind is ErrUnknownKind: drop it, the connection is fine.
func DecodeServerBinary(v Version, frame []byte) (Message, error) {
	m, err := decodeServerBinary(v, frame)
	if err != nil {
		return Message{}, fmt.Errorf("decode %s binary frame: %w", v, err)
	}
	return m, nil
}

func decodeServerBinary(v Version, frame []byte) (Message, error) {
	if v == V1 {
		return Message{}, errV1Binary
	}
	if len(frame) == 0 {
		return Message{}, errTruncated
	}
	var m Message
	switch frame[0] {
	case bytePush:
		h, err := readHeader(frame, 3, false)
		if err != nil {
			return m, err
		}
		m = Message{
			Kind:    Push,
			JoinRef: binaryRef(h.field[0]),
			Topic:   string(h.field[1]),
			Event:   internEvent(h.field[2]),
			Payload: h.rest,
			Binary:  true,
		}
	case byteReply:
		h, err := readHeader(frame, 4, false)
		if err != nil {
			return m, err
		}
		m = Message{
			Kind:    Reply,
			JoinRef: binaryRef(h.field[0]),
			Ref:     binaryRef(h.field[1]),
			Topic:   string(h.field[2]),
			Event:   EventReply,
			Status:  string(h.field[3]),
			Payload: h.rest,
			Binary:  true,
		}
	case byteBroadcast:
		h, err := readHeader(frame, 2, false)
		if err != nil {
			return m, err
		}
		m = Message{Kind: Broadcast, Topic: string(h.field[0]), Event: internEvent(h.field[1]), Payload: h.rest, Binary: true}
	case byteUserBroadcast:
		h, err := readHeader(frame, 3, true)
		if err != nil {
			return m, err
		}
		m = Message{
			Kind:      UserBroadcast,
			Topic:     string(h.field[0]),
			Event:     EventBroadcast,
			UserEvent: string(h.field[1]),
			Metadata:  h.field[2],
			Payload:   h.rest,
			Binary:    h.encoding == encodingBinary,
		}
	default:
		return m, ErrUnknownKind
	}
	return m, nil
}

// DecodeClientBinary reads a binary frame as a client sends it (kinds 0 and 3).
// Refs of length 0 are empty strings, as the server takes them. Payload and
// Metadata alias frame; a JSON payload is not checked.
func DecodeClientBinary(v Version, frame []byte) (Message, error) {
	m, err := decodeClientBinary(v, frame)
	if err != nil {
		return Message{}, fmt.Errorf("decode %s binary frame: %w", v, err)
	}
	return m, nil
}

func decodeClientBinary(v Version, frame []byte) (Message, error) {
	if v == V1 {
		return Message{}, errV1Binary
	}
	if len(frame) == 0 {
		return Message{}, errTruncated
	}
	var m Message
	switch frame[0] {
	case bytePush:
		h, err := readHeader(frame, 4, false)
		if err != nil {
			return m, err
		}
		m = Message{
			Kind:    Push,
			JoinRef: StringRef(string(h.field[0])),
			Ref:     StringRef(string(h.field[1])),
			Topic:   string(h.field[2]),
			Event:   internEvent(h.field[3]),
			Payload: h.rest,
			Binary:  true,
		}
	case byteUserBroadcastPush:
		h, err := readHeader(frame, 5, true)
		if err != nil {
			return m, err
		}
		m = Message{
			Kind:      UserBroadcastPush,
			JoinRef:   StringRef(string(h.field[0])),
			Ref:       StringRef(string(h.field[1])),
			Topic:     string(h.field[2]),
			Event:     EventBroadcast,
			UserEvent: string(h.field[3]),
			Metadata:  h.field[4],
			Payload:   h.rest,
			Binary:    h.encoding == encodingBinary,
		}
	default:
		return m, ErrUnknownKind
	}
	return m, nil
}

type header struct {
	field    [5][]byte
	encoding byte
	rest     []byte
}

// readHeader reads n length bytes, the encoding byte when there is one, then n fields.
func readHeader(frame []byte, n int, withEncoding bool) (h header, err error) {
	at := 1 + n
	if withEncoding {
		at++
	}
	if len(frame) < at {
		return h, errTruncated
	}
	if withEncoding {
		h.encoding = frame[at-1]
	}
	for i := range n {
		l := int(frame[1+i])
		if len(frame)-at < l {
			return h, errTruncated
		}
		h.field[i] = frame[at : at+l : at+l]
		at += l
	}
	h.rest = frame[at:]
	return h, nil
}

// binaryRef reads a server's ref; length 0 is none.
func binaryRef(b []byte) Ref {
	if len(b) == 0 {
		return Ref{}
	}
	return StringRef(string(b))
}

// appendHeader writes the kind, the lengths, the encoding byte (none when negative)
// and the fields.
func appendHeader(dst []byte, kind byte, encoding int, fields ...string) ([]byte, error) {
	head := append(dst, kind)
	for _, f := range fields {
		if len(f) > 255 {
			return dst, ErrTooLong
		}
		head = append(head, byte(len(f)))
	}
	if encoding >= 0 {
		head = append(head, byte(encoding))
	}
	for _, f := range fields {
		head = append(head, f...)
	}
	return head, nil
}

func encodingOf(m *Message) int {
	if m.Binary {
		return encodingBinary
	}
	return encodingJSON
}

func appendUserBroadcastPush(dst []byte, m *Message) ([]byte, error) {
	out, err := appendHeader(
		dst,
		byteUserBroadcastPush,
		encodingOf(m),
		m.JoinRef.Text(),
		m.Ref.Text(),
		m.Topic,
		m.UserEvent,
		string(m.Metadata),
	)
	if err != nil {
		return dst, err
	}
	return append(out, m.Payload...), nil
}

func appendClientPush(dst []byte, m *Message) ([]byte, error) {
	out, err := appendHeader(dst, bytePush, -1, m.JoinRef.Text(), m.Ref.Text(), m.Topic, m.Event)
	if err != nil {
		return dst, err
	}
	return append(out, m.Payload...), nil
}

func appendServerBinary(dst []byte, m *Message) (out []byte, err error) {
	switch m.Kind {
	case Push:
		out, err = appendHeader(dst, bytePush, -1, m.JoinRef.Text(), m.Topic, m.Event)
	case Reply:
		out, err = appendHeader(dst, byteReply, -1, m.JoinRef.Text(), m.Ref.Text(), m.Topic, m.Status)
	case Broadcast:
		out, err = appendHeader(dst, byteBroadcast, -1, m.Topic, m.Event)
	case UserBroadcast:
		out, err = appendHeader(dst, byteUserBroadcast, encodingOf(m), m.Topic, m.UserEvent, string(m.Metadata))
	default:
		return dst, ErrNotRepresentable
	}
	if err != nil {
		return dst, err
	}
	return append(out, m.Payload...), nil
}
