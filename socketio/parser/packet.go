package parser

import (
	"encoding/json"
	"errors"
)

// Type is the kind of a Socket.IO packet, with the number it has on the wire.
type Type uint8

// The packet types of protocol v5.
const (
	Connect      Type = 0 // opens a namespace; payload: an object or nothing
	Disconnect   Type = 1 // leaves a namespace; no payload
	Event        Type = 2 // payload: [name, args...]
	Ack          Type = 3 // answers an event; payload: [args...]
	ConnectError Type = 4 // refuses a namespace; payload: {"message": ..., "data": ...}
	BinaryEvent  Type = 5 // an event with attachments
	BinaryAck    Type = 6 // an ack with attachments
)

// Packet is one Socket.IO packet.
type Packet struct {
	Type Type
	// Namespace starts with a slash; "/" is the main one.
	Namespace string
	// ID is the ack id; it counts only if HasID.
	ID    uint64
	HasID bool
	// Payload is the JSON object of a Connect or ConnectError packet, nil when there is none.
	Payload json.RawMessage
	// Args are the elements of an event's or an ack's array, each as JSON text. An event's name is
	// Args[0]. Where the sender had bytes there is a placeholder object,
	// {"_placeholder":true,"num":i}, for Attachments[i].
	Args []json.RawMessage
	// Attachments are the bytes the placeholders stand for.
	Attachments [][]byte

	name string // of an event; empty if it was not looked at yet
}

// Binary says whether the packet carries attachments.
func (p *Packet) Binary() bool { return p.Type == BinaryEvent || p.Type == BinaryAck }

// DefaultMaxAttachments is how many binary attachments a packet may announce unless a Decoder says
// otherwise.
const DefaultMaxAttachments = 10

// ErrSyntax is wrapped by every error about a packet that breaks the protocol. A server closes the
// connection then.
var ErrSyntax = errors.New("invalid packet")

// reserved are the event names a peer may not send: they belong to the libraries at both ends.
var reserved = map[string]bool{
	"connect": true, "connect_error": true, "disconnect": true, "disconnecting": true,
	"newListener": true, "removeListener": true,
}

// Reserved says whether an event name belongs to the library and so can't be sent.
func Reserved(event string) bool { return reserved[event] }
