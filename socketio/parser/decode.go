package parser

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Decoder turns the messages of one connection into packets. It remembers a binary packet until its
// last attachment has come. It belongs to one goroutine at a time. The zero value is ready for use.
type Decoder struct {
	// MaxAttachments bounds the attachments of one packet; 0 means DefaultMaxAttachments.
	MaxAttachments int
	// MaxBytes bounds the attachments of one packet together, in bytes; 0 means no bound.
	MaxBytes int

	partial *Packet // a binary packet whose attachments are still coming
	want    int     // how many it announced
	text    int     // bytes of its text
	bytes   int     // bytes of the attachments that have come
	name    string  // the namespace of the packet before, kept so that the same one costs no allocation
	event   string  // likewise, the name of the event before
}

// maxRemembered bounds the names that a Decoder keeps, in bytes.
const maxRemembered = 64

// Text takes a text message. The packet's payload aliases b: the caller must not change b
// afterwards. A nil packet without an error means that attachments have to come first. After an
// error the decoder is of no more use.
func (d *Decoder) Text(b []byte) (*Packet, error) {
	if d.partial != nil {
		return nil, fmt.Errorf("%w: text where attachment %d of %d was due", ErrSyntax, len(d.partial.Attachments)+1, d.want)
	}
	few := new(struct { // one allocation
		Packet
		args [3]json.RawMessage
	})
	p := &few.Packet
	p.Args = few.args[:0]
	want, err := d.header(b, p)
	if err != nil {
		return nil, err
	}
	if want > 0 {
		d.partial, d.want, d.text, d.bytes = p, want, len(b), 0
		return nil, nil
	}
	return p, nil
}

// Attachment takes a binary message, which it keeps. It returns the packet once its last attachment
// has come.
func (d *Decoder) Attachment(b []byte) (*Packet, error) {
	p := d.partial
	if p == nil {
		return nil, fmt.Errorf("%w: attachment without a packet", ErrSyntax)
	}
	d.bytes += len(b)
	if d.MaxBytes > 0 && d.bytes > d.MaxBytes {
		return nil, fmt.Errorf("%w: attachments of more than %d bytes together", ErrSyntax, d.MaxBytes)
	}
	p.Attachments = append(p.Attachments, b)
	if len(p.Attachments) < d.want {
		return nil, nil
	}
	d.partial = nil
	for _, a := range p.Args {
		if err := checkPlaceholders(a, d.want); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Pending says whether attachments are still due.
func (d *Decoder) Pending() bool { return d.partial != nil }

// Held is how many bytes the decoder keeps until attachments have come.
func (d *Decoder) Held() int {
	if d.partial == nil {
		return 0
	}
	return d.text + d.bytes
}

// header reads everything of a text message into p and returns the number of attachments it
// announces.
func (d *Decoder) header(b []byte, p *Packet) (attachments int, err error) {
	if len(b) == 0 || b[0] < '0' || b[0] > '6' {
		return 0, fmt.Errorf("%w: unknown packet type", ErrSyntax)
	}
	p.Type = Type(b[0] - '0')
	i := 1
	if p.Binary() {
		n, j := number(b, i)
		limit := d.MaxAttachments
		if limit == 0 {
			limit = DefaultMaxAttachments
		}
		switch {
		case j == i || j >= len(b) || b[j] != '-':
			return 0, fmt.Errorf("%w: number of attachments missing", ErrSyntax)
		case n > uint64(limit):
			return 0, fmt.Errorf("%w: more than %d attachments", ErrSyntax, limit)
		}
		attachments, i = int(n), j+1
	}
	p.Namespace = "/"
	if i < len(b) && b[i] == '/' {
		end := i
		for end < len(b) && b[end] != ',' {
			end++
		}
		if p.Namespace = d.name; string(b[i:end]) != d.name {
			p.Namespace = string(b[i:end])
		}
		if end-i <= maxRemembered {
			d.name = p.Namespace
		}
		i = min(end+1, len(b))
	}
	if n, j := number(b, i); j > i {
		if n == math.MaxUint64 {
			return 0, fmt.Errorf("%w: ack id too large", ErrSyntax)
		}
		p.ID, p.HasID, i = n, true, j
	}
	if err := p.payload(b[i:], d.event); err != nil {
		return 0, err
	}
	if p.name != "" && len(p.name) <= maxRemembered {
		d.event = p.name
	}
	if p.Binary() && attachments == 0 {
		// A sender may announce none: the packet is complete and is as good as one without binary.
		if p.Type == BinaryEvent {
			p.Type = Event
		} else {
			p.Type = Ack
		}
	}
	return attachments, nil
}

// number reads decimal digits from b[i]. It returns their value, math.MaxUint64 when there are too
// many, and the index after them.
func number(b []byte, i int) (uint64, int) {
	var n uint64
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if n > (1<<53)/10 {
			n = math.MaxUint64
			for i < len(b) && b[i] >= '0' && b[i] <= '9' {
				i++
			}
			return n, i
		}
		n = n*10 + uint64(b[i]-'0')
	}
	return n, i
}

// payload checks and stores what follows the header. before is the name of an event that may be the
// same.
func (p *Packet) payload(b []byte, before string) error {
	switch p.Type {
	case Connect, ConnectError:
		if len(b) == 0 && p.Type == Connect {
			return nil
		}
		i := skipSpace(b, 0)
		end := skipValue(b, i, maxDepth)
		if end < 0 || skipSpace(b, end) != len(b) || b[i] != '{' && (p.Type == Connect || b[i] != '"') {
			return fmt.Errorf("%w: payload of a connect packet is not an object", ErrSyntax)
		}
		p.Payload = json.RawMessage(b)
		return nil
	case Disconnect:
		if len(b) > 0 {
			return fmt.Errorf("%w: disconnect with a payload", ErrSyntax)
		}
		return nil
	}
	args, err := appendSplit(p.Args, b)
	if err != nil {
		return err
	}
	p.Args = args
	if p.Type == Ack || p.Type == BinaryAck {
		if !p.HasID {
			return fmt.Errorf("%w: ack without an id", ErrSyntax)
		}
		return nil
	}
	if len(args) == 0 {
		return fmt.Errorf("%w: event without a name", ErrSyntax)
	}
	p.name, err = eventName(args[0], before)
	if err != nil {
		return err
	}
	if reserved[p.name] {
		return fmt.Errorf("%w: reserved event name", ErrSyntax)
	}
	return nil
}

// Name returns an event's name. A number is allowed too and is returned as its digits.
func (p *Packet) Name() (string, error) {
	if len(p.Args) == 0 {
		return "", fmt.Errorf("%w: event without a name", ErrSyntax)
	}
	if p.name != "" {
		return p.name, nil
	}
	return eventName(p.Args[0], "")
}

// eventName returns the name that the first element of an event gives. before is one that may be
// the same, which costs nothing then.
func eventName(a json.RawMessage, before string) (string, error) {
	switch c := a[0]; {
	case c == '"':
		if plain := a[1 : len(a)-1]; isPlain(plain) {
			if string(plain) == before {
				return before, nil
			}
			return string(plain), nil
		}
		var s string
		if err := json.Unmarshal(a, &s); err != nil {
			return "", fmt.Errorf("%w: event name: %w", ErrSyntax, err)
		}
		return s, nil
	case c == '-' || c >= '0' && c <= '9':
		return string(a), nil
	}
	return "", fmt.Errorf("%w: event name is neither a string nor a number", ErrSyntax)
}

func isPlain(b []byte) bool {
	for _, c := range b {
		if c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

// Split returns the elements of a JSON array as raw text, each checked against the grammar. They
// alias b.
func Split(b []byte) ([]json.RawMessage, error) {
	return appendSplit(make([]json.RawMessage, 0, 3), b)
}

// appendSplit appends what Split returns to args.
func appendSplit(args []json.RawMessage, b []byte) ([]json.RawMessage, error) {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '[' {
		return nil, fmt.Errorf("%w: payload is not an array", ErrSyntax)
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		i++
	} else {
		for {
			end := skipValue(b, i, maxDepth)
			if end < 0 {
				return nil, fmt.Errorf("%w: payload is not valid JSON", ErrSyntax)
			}
			args = append(args, json.RawMessage(b[i:end:end]))
			i = skipSpace(b, end)
			if i < len(b) && b[i] == ',' {
				i = skipSpace(b, i+1)
				continue
			}
			if i < len(b) && b[i] == ']' {
				i++
				break
			}
			return nil, fmt.Errorf("%w: payload is not valid JSON", ErrSyntax)
		}
	}
	if skipSpace(b, i) != len(b) {
		return nil, fmt.Errorf("%w: text after the payload", ErrSyntax)
	}
	return args, nil
}

// Quote returns s as JSON text.
func Quote(s string) []byte { return AppendString(nil, s) }

// AppendString appends s to b as a JSON string.
func AppendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			q, err := json.Marshal(s)
			if err != nil { // a string always marshals
				return strconv.AppendQuoteToASCII(b, s)
			}
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
