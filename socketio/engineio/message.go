package engineio

import (
	"encoding/base64"
	"encoding/binary"
)

// Message is one message for a client, encoded and framed once. It is immutable and may be sent to
// any number of connections.
type Message struct {
	frame []byte // a whole websocket frame
	head  uint8  // where its payload starts
	kind  kind
	plain bool // not worth compressing

	queued int32 // queues that hold the message; atomic
}

// Plain returns the message as one for which no answer to a long-polling request is compressed,
// unless another message in it is worth that.
func (m *Message) Plain() *Message {
	return &Message{frame: m.frame, head: m.head, kind: m.kind, plain: true}
}

type kind uint8

const (
	kindText    kind = iota // the payload is an Engine.IO packet: type digit, then data
	kindBinary              // the payload is the data of a message packet
	kindBinary3             // the same with the packet type in front: protocol version 3
	kindControl             // a websocket control frame: means nothing to long-polling
)

// Size is the number of bytes the message takes in a connection's queue.
func (m *Message) Size() int { return len(m.frame) }

// Websocket opcodes with the FIN bit (RFC 6455 §5.2).
const (
	opText   = 0x81
	opBinary = 0x82
	opClose  = 0x88
	opPong   = 0x8a
)

// maxHead is the longest header of an unmasked frame: two bytes and a 64-bit length.
const maxHead = 10

// textPrefix is the Engine.IO packet type "message".
const textPrefix = '4'

// TextBuffer returns a buffer for [FinishText]. Append the text to it; what it holds already must
// stay. size is how many bytes of text are expected.
func TextBuffer(size int) []byte {
	b := make([]byte, maxHead+1, maxHead+1+size)
	b[maxHead] = textPrefix
	return b
}

// FinishText makes a text message of a buffer that [TextBuffer] returned, without copying it.
func FinishText(b []byte) *Message { return finish(b, opText, kindText) }

// NewText makes a text message. It copies text.
func NewText(text []byte) *Message { return FinishText(append(TextBuffer(len(text)), text...)) }

// NewBinary makes a binary message. It copies data.
func NewBinary(data []byte) *Message {
	b := make([]byte, maxHead, maxHead+len(data))
	return finish(append(b, data...), opBinary, kindBinary)
}

// packet makes a message of a packet that is not a message packet: ping, pong, noop and so on.
func packet(text string) *Message {
	b := make([]byte, maxHead, maxHead+len(text))
	return finish(append(b, text...), opText, kindText)
}

// control makes a websocket control frame; payload has at most 125 bytes.
func control(op byte, payload []byte) *Message {
	return &Message{frame: append([]byte{op, byte(len(payload))}, payload...), head: 2, kind: kindControl}
}

// finish writes the frame header right before the payload at b[maxHead:].
func finish(b []byte, op byte, k kind) *Message {
	n := len(b) - maxHead
	var head int
	switch {
	case n < 126:
		head = 2
		b[maxHead-1] = byte(n)
	case n < 1<<16:
		head = 4
		b[maxHead-3] = 126
		binary.BigEndian.PutUint16(b[maxHead-2:], uint16(n))
	default:
		head = 10
		b[maxHead-9] = 127
		binary.BigEndian.PutUint64(b[maxHead-8:], uint64(n))
	}
	b[maxHead-head] = op
	return &Message{frame: b[maxHead-head:], head: uint8(head), kind: k}
}

// appendPayload appends the message as a packet of a long-polling payload.
func (m *Message) appendPayload(b []byte) []byte {
	if m.kind == kindBinary {
		return base64.StdEncoding.AppendEncode(append(b, 'b'), m.frame[m.head:])
	}
	return append(b, m.frame[m.head:]...)
}

// The packets that are the same for every connection.
var (
	pingMessage      = packet("2")
	noopMessage      = packet("6")
	closeMessage     = packet("1")
	probePongMessage = packet("3probe")
	goodbyeMessage   = control(opClose, nil)
)
