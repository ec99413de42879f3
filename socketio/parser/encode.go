package parser

import (
	"encoding/json"
	"strconv"
)

// AppendHeader appends what comes before the payload of a packet: type, number of attachments,
// namespace and ack id.
func AppendHeader(b []byte, t Type, attachments int, namespace string, id uint64, hasID bool) []byte {
	b = append(b, '0'+byte(t))
	if t == BinaryEvent || t == BinaryAck {
		b = strconv.AppendInt(b, int64(attachments), 10)
		b = append(b, '-')
	}
	if namespace != "/" && namespace != "" {
		b = append(b, namespace...)
		b = append(b, ',')
	}
	if hasID {
		b = strconv.AppendUint(b, id, 10)
	}
	return b
}

// Append appends the text message of p. Its attachments follow as binary messages of their own.
func Append(b []byte, p *Packet) []byte {
	b = AppendHeader(b, p.Type, len(p.Attachments), p.Namespace, p.ID, p.HasID)
	switch p.Type {
	case Connect, ConnectError, Disconnect:
		return append(b, p.Payload...)
	}
	return AppendArgs(b, p.Args)
}

// AppendArgs appends args as a JSON array.
func AppendArgs(b []byte, args []json.RawMessage) []byte {
	b = append(b, '[')
	for i, a := range args {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, a...)
	}
	return append(b, ']')
}
