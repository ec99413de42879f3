package engineio

import (
	"bytes"
	"encoding/base64"
	"errors"
	"unicode/utf8"
)

// separator stands between the packets of a long-polling payload. No packet can hold it: JSON has
// it escaped.
const separator = 0x1e

// errPacket means that a packet, or a payload of packets, breaks the protocol.
var errPacket = errors.New("invalid packet")

// decodePayload calls f for each packet of a request body until f returns an error. binary packets
// come decoded, without their 'b'.
func decodePayload(body []byte, f func(data []byte, binary bool) error) error {
	for {
		p, rest, more := bytes.Cut(body, []byte{separator})
		if len(p) > 0 && p[0] == 'b' {
			data, err := decodeBase64(p[1:])
			if err != nil {
				return errPacket
			}
			if err := f(data, true); err != nil {
				return err
			}
		} else {
			if !utf8.Valid(p) {
				return errPacket
			}
			if err := f(p, false); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		body = rest
	}
}

// decodeBase64 decodes what a client sends as text. Some leave the padding out.
func decodeBase64(text []byte) ([]byte, error) {
	text = bytes.TrimRight(text, "=")
	data := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, err := base64.RawStdEncoding.Decode(data, text)
	return data[:n], err
}

// join appends messages to b as one payload.
func join(b []byte, ms []*Message) []byte {
	for _, m := range ms {
		if m.kind == kindControl {
			continue
		}
		if len(b) > 0 {
			b = append(b, separator)
		}
		b = m.appendPayload(b)
	}
	return b
}
