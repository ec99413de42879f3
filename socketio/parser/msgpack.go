package parser

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// MsgPack is the form that the package socket.io-msgpack-parser gives packets: each is one binary
// message, a map with the keys type, nsp, data and id. It is turned into JSON text with attachments
// and back, so that applications see no difference. The zero value is ready for use.
type MsgPack struct {
	// MaxAttachments bounds the byte strings in one packet; 0 means DefaultMaxAttachments.
	MaxAttachments int
}

// Encode makes the message of p.
func (MsgPack) Encode(p *Packet) ([]byte, error) {
	t := p.Type
	switch t {
	case BinaryEvent:
		t = Event
	case BinaryAck:
		t = Ack
	}
	fields := byte(2)
	var data json.RawMessage
	switch t {
	case Event, Ack:
		data = AppendArgs(nil, p.Args)
	default:
		data = p.Payload
	}
	if data != nil {
		fields++
	}
	if p.HasID {
		fields++
	}
	b := append([]byte(nil), 0x80|fields)
	b = append(AppendPackedString(b, "type"), byte(t))
	b = AppendPackedString(AppendPackedString(b, "nsp"), p.Namespace)
	if data != nil {
		var err error
		if b, err = pack(AppendPackedString(b, "data"), data, p.Attachments); err != nil {
			return nil, err
		}
	}
	if p.HasID {
		b = appendPackedUint(AppendPackedString(b, "id"), p.ID)
	}
	return b, nil
}

// AppendPacked appends the JSON value v as MessagePack, with the attachments in the place of their
// placeholders.
func AppendPacked(b []byte, v json.RawMessage, attachments [][]byte) ([]byte, error) {
	return pack(b, v, attachments)
}

// Unpack turns the MessagePack value that b consists of into JSON text. Byte strings, at most
// maxAttachments, become placeholders for the attachments, which are parts of b; dates become text,
// and extensions that notepack doesn't know are an error.
func Unpack(b []byte, maxAttachments int) (json.RawMessage, [][]byte, error) {
	u := unpacker{b: b, limit: maxAttachments}
	text, err := u.value(make([]byte, 0, 2*len(b)), maxDepth)
	if err != nil {
		return nil, nil, err
	}
	if len(u.b) > 0 {
		return nil, nil, fmt.Errorf("%w: %d bytes after the value", ErrSyntax, len(u.b))
	}
	if err := checkPlaceholders(text, len(u.attachments)); err != nil {
		return nil, nil, err
	}
	return text, u.attachments, nil
}

// pack appends the JSON value v, with attachments in the place of placeholders.
func pack(b []byte, v json.RawMessage, attachments [][]byte) ([]byte, error) {
	i := skipSpace(v, 0)
	if i == len(v) {
		return nil, fmt.Errorf("%w: no value", ErrSyntax)
	}
	switch v[i] {
	case 'n':
		return append(b, 0xc0), nil
	case 'f':
		return append(b, 0xc2), nil
	case 't':
		return append(b, 0xc3), nil
	case '"':
		var s string
		if err := json.Unmarshal(v, &s); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		return AppendPackedString(b, s), nil
	case '[':
		var list []json.RawMessage
		if err := json.Unmarshal(v, &list); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		b = appendPackedSize(b, len(list), 0x90, 16, 0xdc)
		for _, e := range list {
			var err error
			if b, err = pack(b, e, attachments); err != nil {
				return nil, err
			}
		}
		return b, nil
	case '{':
		if n, ok := Placeholder(v); ok && n >= 0 && n < len(attachments) {
			return appendPackedBytes(b, attachments[n]), nil
		}
		return packObject(b, v, attachments)
	}
	if n, err := strconv.ParseUint(string(v), 10, 64); err == nil {
		return appendPackedUint(b, n), nil
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return appendPackedInt(b, n), nil
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return nil, fmt.Errorf("%w: number out of range", ErrSyntax)
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcb), math.Float64bits(f)), nil
}

// packObject appends the JSON object v, its keys in their order.
func packObject(b []byte, v json.RawMessage, attachments [][]byte) ([]byte, error) {
	var pairs []json.RawMessage // key, value, key, value
	i := skipSpace(v, 0) + 1
	for i = skipSpace(v, i); i < len(v) && v[i] == '"'; i = skipSpace(v, i) {
		end := skipString(v, i)
		if end < 0 {
			return nil, fmt.Errorf("%w: object is not valid JSON", ErrSyntax)
		}
		from := skipSpace(v, end)
		if from >= len(v) || v[from] != ':' {
			return nil, fmt.Errorf("%w: object is not valid JSON", ErrSyntax)
		}
		from = skipSpace(v, from+1)
		to := skipValue(v, from, maxDepth)
		if to < 0 {
			return nil, fmt.Errorf("%w: object is not valid JSON", ErrSyntax)
		}
		pairs = append(pairs, v[i:end], v[from:to])
		if i = skipSpace(v, to); i < len(v) && v[i] == ',' {
			i++
		}
	}
	b = appendPackedSize(b, len(pairs)/2, 0x80, 16, 0xde)
	for _, e := range pairs {
		var err error
		if b, err = pack(b, e, attachments); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// appendPackedSize appends the head of something with n elements: fix|n below limit, else code with
// 16 bits or code+1 with 32.
func appendPackedSize(b []byte, n int, fix byte, limit int, code byte) []byte {
	switch {
	case n < limit:
		return append(b, fix|byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, code), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, code+1), uint32(n))
}

// AppendPackedString appends a text as MessagePack.
func AppendPackedString(b []byte, s string) []byte {
	if n := len(s); n >= 32 && n < 256 {
		b = append(b, 0xd9, byte(n))
	} else {
		b = appendPackedSize(b, n, 0xa0, 32, 0xda)
	}
	return append(b, s...)
}

func appendPackedBytes(b, data []byte) []byte {
	if n := len(data); n < 256 {
		b = append(b, 0xc4, byte(n))
	} else {
		b = appendPackedSize(b, n, 0, 0, 0xc5)
	}
	return append(b, data...)
}

func appendPackedUint(b []byte, n uint64) []byte {
	switch {
	case n < 1<<7:
		return append(b, byte(n))
	case n < 1<<8:
		return append(b, 0xcc, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), n)
}

func appendPackedInt(b []byte, n int64) []byte { // n is negative
	switch {
	case n >= -32:
		return append(b, byte(n))
	case n >= math.MinInt8:
		return append(b, 0xd0, byte(n))
	case n >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(b, 0xd1), uint16(n))
	case n >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(b, 0xd2), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(n))
}

// Decode reads the packet of a message, which it keeps: attachments are parts of it.
func (m MsgPack) Decode(b []byte) (*Packet, error) {
	u := unpacker{b: b, limit: m.MaxAttachments}
	if u.limit == 0 {
		u.limit = DefaultMaxAttachments
	}
	text, err := u.value(make([]byte, 0, 2*len(b)), maxDepth)
	if err != nil {
		return nil, err
	}
	var f struct {
		Type *Type
		NSP  *string
		Data json.RawMessage
		ID   *uint64
	}
	if len(u.b) > 0 || json.Unmarshal(text, &f) != nil || f.Type == nil || *f.Type > ConnectError || f.NSP == nil ||
		len(*f.NSP) == 0 || (*f.NSP)[0] != '/' {
		return nil, fmt.Errorf("%w: not a packet", ErrSyntax)
	}
	p := &Packet{Type: *f.Type, Namespace: *f.NSP, Attachments: u.attachments}
	if f.ID != nil {
		p.ID, p.HasID = *f.ID, true
	}
	if string(f.Data) == "null" {
		f.Data = nil
	}
	if err := p.payload(f.Data, ""); err != nil {
		return nil, err
	}
	for _, a := range p.Args {
		if err := checkPlaceholders(a, len(p.Attachments)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// unpacker turns MessagePack into JSON text.
type unpacker struct {
	b           []byte // what is left
	attachments [][]byte
	limit       int // of attachments
}

// take removes the first n bytes.
func (u *unpacker) take(n uint64) ([]byte, error) {
	if n > uint64(len(u.b)) {
		return nil, fmt.Errorf("%w: message ends early", ErrSyntax)
	}
	p := u.b[:n:n]
	u.b = u.b[n:]
	return p, nil
}

// uint removes a number of size bytes.
func (u *unpacker) uint(size int) (uint64, error) {
	p, err := u.take(uint64(size))
	if err != nil {
		return 0, err
	}
	var n uint64
	for _, c := range p {
		n = n<<8 | uint64(c)
	}
	return n, nil
}

// value appends the next value to dst.
func (u *unpacker) value(dst []byte, depth int) ([]byte, error) {
	if depth == 0 {
		return nil, fmt.Errorf("%w: nested too deep", ErrSyntax)
	}
	head, err := u.uint(1)
	if err != nil {
		return nil, err
	}
	c := byte(head)
	switch {
	case c < 0x80:
		return strconv.AppendUint(dst, head, 10), nil
	case c < 0x90:
		return u.mapping(dst, head&0x0f, depth)
	case c < 0xa0:
		return u.list(dst, head&0x0f, depth)
	case c < 0xc0:
		return u.str(dst, head&0x1f)
	case c >= 0xe0:
		return strconv.AppendInt(dst, int64(int8(c)), 10), nil
	}
	switch c {
	case 0xc0:
		return append(dst, "null"...), nil
	case 0xc2:
		return append(dst, "false"...), nil
	case 0xc3:
		return append(dst, "true"...), nil
	case 0xc4, 0xc5, 0xc6:
		return u.sized(dst, 1<<(c-0xc4), depth, u.bin)
	case 0xc7, 0xc8, 0xc9:
		return u.sized(dst, 1<<(c-0xc7), depth, u.ext)
	case 0xca, 0xcb:
		return u.float(dst, c == 0xcb)
	case 0xcc, 0xcd, 0xce, 0xcf:
		n, err := u.uint(1 << (c - 0xcc))
		return strconv.AppendUint(dst, n, 10), err
	case 0xd0, 0xd1, 0xd2, 0xd3:
		size := 1 << (c - 0xd0)
		n, err := u.uint(size)
		shift := 64 - 8*size
		return strconv.AppendInt(dst, int64(n<<shift)>>shift, 10), err
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		return u.ext(dst, 1<<(c-0xd4), depth)
	case 0xd9, 0xda, 0xdb:
		return u.sized(dst, 1<<(c-0xd9), depth, func(dst []byte, n uint64, _ int) ([]byte, error) { return u.str(dst, n) })
	case 0xdc, 0xdd:
		return u.sized(dst, 2<<(c-0xdc), depth, u.list)
	case 0xde, 0xdf:
		return u.sized(dst, 2<<(c-0xde), depth, u.mapping)
	}
	return nil, fmt.Errorf("%w: unknown type %#x", ErrSyntax, c)
}

// sized reads a size of width bytes and goes on with f.
func (u *unpacker) sized(dst []byte, width, depth int, f func([]byte, uint64, int) ([]byte, error)) ([]byte, error) {
	n, err := u.uint(width)
	if err != nil {
		return nil, err
	}
	return f(dst, n, depth)
}

func (u *unpacker) float(dst []byte, double bool) ([]byte, error) {
	var f float64
	if double {
		n, err := u.uint(8)
		if err != nil {
			return nil, err
		}
		f = math.Float64frombits(n)
	} else {
		n, err := u.uint(4)
		if err != nil {
			return nil, err
		}
		f = float64(math.Float32frombits(uint32(n)))
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...), nil // as JSON.stringify has it
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64), nil
}

func (u *unpacker) str(dst []byte, n uint64) ([]byte, error) {
	s, err := u.take(n)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(s) {
		return nil, fmt.Errorf("%w: string is not UTF-8", ErrSyntax)
	}
	return AppendString(dst, string(s)), nil
}

func (u *unpacker) bin(dst []byte, n uint64, _ int) ([]byte, error) {
	data, err := u.take(n)
	if err != nil {
		return nil, err
	}
	if len(u.attachments) == u.limit {
		return nil, fmt.Errorf("%w: more than %d attachments", ErrSyntax, u.limit)
	}
	u.attachments = append(u.attachments, data)
	return AppendPlaceholder(dst, len(u.attachments)-1), nil
}

func (u *unpacker) list(dst []byte, n uint64, depth int) ([]byte, error) {
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = u.value(dst, depth-1); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func (u *unpacker) mapping(dst []byte, n uint64, depth int) ([]byte, error) {
	dst = append(dst, '{')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		start := len(dst)
		var err error
		if dst, err = u.value(dst, 1); err != nil {
			return nil, err
		}
		if dst[start] != '"' {
			return nil, fmt.Errorf("%w: key is not a string", ErrSyntax)
		}
		if dst, err = u.value(append(dst, ':'), depth-1); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// ext reads an extension of n bytes: a date becomes the text that JSON has for it; undefined
// becomes null.
func (u *unpacker) ext(dst []byte, n uint64, _ int) ([]byte, error) {
	kind, err := u.uint(1)
	if err != nil {
		return nil, err
	}
	p, err := u.take(n)
	if err != nil {
		return nil, err
	}
	var at time.Time
	switch {
	case kind == 0 && n == 1:
		return append(dst, "null"...), nil
	case kind == 0 && n == 8: // milliseconds, by older senders
		at = time.UnixMilli(int64(binary.BigEndian.Uint64(p)))
	case kind == 0xff && n == 4:
		at = time.Unix(int64(binary.BigEndian.Uint32(p)), 0)
	case kind == 0xff && n == 8:
		v := binary.BigEndian.Uint64(p)
		at = time.Unix(int64(v&(1<<34-1)), int64(v>>34))
	case kind == 0xff && n == 12:
		at = time.Unix(int64(binary.BigEndian.Uint64(p[4:])), int64(binary.BigEndian.Uint32(p)))
	default:
		return nil, fmt.Errorf("%w: unknown extension", ErrSyntax)
	}
	return AppendString(dst, at.UTC().Format("2006-01-02T15:04:05.000Z")), nil
}
