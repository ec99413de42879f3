package engineio

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Version 3 of the protocol, for the clients of Socket.IO 2. What differs: the client sends the
// pings; a binary message has its packet type as a first byte; the packets of a long-polling
// payload have their lengths in front of them.

// version returns the protocol version that a request speaks, 0 if none that is admitted.
func (s *Server) version(eio string) uint8 {
	switch {
	case eio == "4":
		return 4
	case s.opts.AllowEIO3 && (eio == "3" || eio == ""):
		return 3
	}
	return 0
}

// binaryPrefix is the packet type "message" in front of a binary message of version 3.
const binaryPrefix = 4

// downgrade returns the messages as version 3 has them.
func downgrade(ms []*Message) []*Message {
	list := make([]*Message, len(ms))
	for i, m := range ms {
		if m.kind == kindBinary {
			data := m.frame[m.head:]
			b := append(make([]byte, maxHead, maxHead+1+len(data)), binaryPrefix)
			plain := m.plain
			m = finish(append(b, data...), opBinary, kindBinary3)
			m.plain = plain
		}
		list[i] = m
	}
	return list
}

// inText returns the messages with those that are binary as text in base64, as a client takes them
// that asked for that.
func inText(ms []*Message, protocol uint8) []*Message {
	list := make([]*Message, len(ms))
	for i, m := range ms {
		if m.kind == kindBinary {
			data, plain := m.frame[m.head:], m.plain
			b := append(make([]byte, maxHead, maxHead+2+base64.StdEncoding.EncodedLen(len(data))), 'b')
			if protocol == 3 {
				b = append(b, textPrefix)
			}
			m = finish(base64.StdEncoding.AppendEncode(b, data), opText, kindText)
			m.plain = plain
		}
		list[i] = m
	}
	return list
}

// receive3 is receive for version 3.
func (c *Conn) receive3(data []byte, binary bool) error {
	if len(data) == 0 {
		return errPacket
	}
	if binary {
		if data[0] != binaryPrefix {
			return errPacket
		}
		c.handler.Message(data[1:], true)
		return nil
	}
	if !utf8.Valid(data) {
		return errPacket
	}
	switch data[0] {
	case textPrefix:
		c.handler.Message(data[1:], false)
	case 'b':
		if len(data) < 2 || data[1] != textPrefix {
			return errPacket
		}
		p, err := decodeBase64(data[2:])
		if err != nil {
			return errPacket
		}
		c.handler.Message(p, true)
	case '2':
		if c.srv.partials.late(c, c.srv.partialTime()) {
			return ErrPartialTime
		}
		c.mu.Lock()
		c.pingDue = time.Now().Add(c.srv.opts.PingInterval)
		c.mu.Unlock()
		c.srv.wheel.set(&c.beat, c.srv.opts.PingInterval+c.srv.opts.PingTimeout)
		_ = c.Send(packet("3" + string(data[1:]))) // on a connection that has ended, nothing
	case '1':
		return errGoodbye
	case '3':
		return errHeartbeat
	case '0', '5', '6':
	default:
		return errPacket
	}
	return nil
}

// join3 joins packets to a payload: as text, or if there is binary and the client takes that, as
// bytes.
func join3(b []byte, ms []*Message, asBytes bool) []byte {
	for _, m := range ms {
		p := m.frame[m.head:]
		if m.kind == kindControl {
			continue
		}
		if asBytes {
			form := byte(0)
			if m.kind == kindBinary3 {
				form = 1
			}
			b = append(b, form)
			for _, digit := range strconv.Itoa(len(p)) {
				b = append(b, byte(digit-'0'))
			}
			b = append(append(b, 0xff), p...)
			continue
		}
		if m.kind == kindBinary3 {
			p = base64.StdEncoding.AppendEncode([]byte{'b', textPrefix}, p[1:])
		}
		b = append(strconv.AppendInt(b, int64(units(p)), 10), ':')
		b = append(b, p...)
	}
	return b
}

// units is the length of a text as JavaScript counts it.
func units(p []byte) int {
	n := 0
	for len(p) > 0 {
		r, size := utf8.DecodeRune(p)
		p = p[size:]
		n++
		if r >= 0x10000 {
			n++
		}
	}
	return n
}

// decodePayload3 is decodePayload for version 3.
func decodePayload3(body []byte, asBytes bool, f func(data []byte, binary bool) error) error {
	if len(body) == 0 {
		return errPacket
	}
	for len(body) > 0 {
		var p []byte
		var ok, binary bool
		if asBytes {
			binary = body[0] == 1
			p, body, ok = cutBytes(body)
		} else {
			p, body, ok = cutText(body)
		}
		if !ok {
			return errPacket
		}
		if err := f(p, binary); err != nil {
			return err
		}
	}
	return nil
}

// maxDigits bounds the digits of a length.
const maxDigits = 9

// cutText takes one packet with its length from a payload of text.
func cutText(body []byte) (p, rest []byte, ok bool) {
	n, i := 0, 0
	for i < len(body) && i <= maxDigits && body[i] >= '0' && body[i] <= '9' {
		n = n*10 + int(body[i]-'0')
		i++
	}
	if i == 0 || i > maxDigits || i >= len(body) || body[i] != ':' {
		return nil, nil, false
	}
	from := i + 1
	end := from
	for n > 0 && end < len(body) {
		r, size := utf8.DecodeRune(body[end:])
		end += size
		n--
		if r >= 0x10000 {
			n--
		}
	}
	return body[from:end], body[end:], n == 0
}

// cutBytes takes one packet with its length from a payload of bytes.
func cutBytes(body []byte) (p, rest []byte, ok bool) {
	if body[0] > 1 {
		return nil, nil, false
	}
	n, i := 0, 1
	for i < len(body) && i <= maxDigits && body[i] <= 9 {
		n = n*10 + int(body[i])
		i++
	}
	if i == 1 || i >= len(body) || body[i] != 0xff || n > len(body)-i-1 {
		return nil, nil, false
	}
	return body[i+1 : i+1+n], body[i+1+n:], true
}

// take appends the next messages of the queue, about limit bytes, to b as a polling payload, and
// whatever more is given. The caller holds mu.
func (c *Conn) take(b []byte, limit int, more ...*Message) []byte {
	n, size := c.queue.batch(limit)
	c.srv.traffic.out(n, size)
	ms := append(append(make([]*Message, 0, n+len(more)), c.queue.pending[:n]...), more...)
	c.srv.queues.release(c.queue.pending[:n])
	c.queue.discard(n)
	c.poll.plain = !slices.ContainsFunc(ms, func(m *Message) bool { return !m.plain && m.kind != kindControl })
	if c.protocol == 3 {
		asBytes := false
		for _, m := range ms {
			asBytes = asBytes || m.kind == kindBinary3 && !c.poll.b64
		}
		c.poll.asBytes = asBytes
		return join3(b, ms, asBytes)
	}
	return join(b, ms)
}

// payloadType is the content type of the payload that take made last.
func (c *Conn) payloadType() string {
	if c.poll.asBytes {
		return "application/octet-stream"
	}
	return "text/plain; charset=UTF-8"
}

// wantsText says whether a client of version 3 takes no payloads of bytes.
func wantsText(r *http.Request) bool { return r.URL.Query().Get("b64") != "" }
