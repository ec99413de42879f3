package redisadapter

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// streams is the protocol of @socket.io/redis-streams-adapter, in the words of the ClusterAdapter:
// entries of one stream for all namespaces, and, for questions, their answers and events that may
// get lost, MessagePack on a channel of the namespace and one of each node.
type streams struct {
	sharded       // static; for its words and its channels
	maxLen  int64 // of the stream, roughly
}

// The fields of an entry. Node servers don't look at the last one: the number that the node has
// given an event which is to come back to it.
const (
	fieldUID    = "uid"
	fieldNSP    = "nsp"
	fieldType   = "type"
	fieldData   = "data"
	fieldSerial = "serial"
)

func (w *streams) onShards() bool { return false }

// inStream says whether a message goes through the stream.
func inStream(m *socketio.NodeMessage) bool {
	switch m.Kind {
	case socketio.KindEmit:
		return m.ID == "" && !m.Volatile
	case socketio.KindJoin, socketio.KindLeave, socketio.KindDisconnect:
		return true
	}
	return false
}

func (w *streams) encode(m *socketio.NodeMessage) (outgoing, error) {
	c, err := clustered(m)
	if err != nil {
		return outgoing{}, err
	}
	c.UID = w.node
	if !inStream(m) {
		channel := w.counted(m.Namespace)
		if m.To != "" {
			channel += m.To + "#"
		}
		text, err := encoded(c, nil)
		if err != nil {
			return outgoing{}, err
		}
		payload, err := parser.AppendPacked(nil, text, m.Attachments)
		return published(channel, payload, false), err
	}
	data, err := encoded(c.Data, m.Attachments)
	if err != nil {
		return outgoing{}, err
	}
	text := string(data)
	if len(m.Attachments) > 0 {
		text = base64.StdEncoding.EncodeToString(data)
	}
	fields := []any{fieldUID, w.node, fieldNSP, m.Namespace, fieldType, c.Type, fieldData, text}
	if m.Serial != 0 {
		fields = append(fields, fieldSerial, m.Serial)
	}
	return outgoing{
		channel: w.prefix,
		size:    len(text) + len(m.Namespace),
		serial:  m.Serial,
		do: func(ctx context.Context, p redis.Pipeliner) redis.Cmder {
			return p.XAdd(ctx, &redis.XAddArgs{Stream: w.prefix, MaxLen: w.maxLen, Approx: true, Values: fields})
		},
	}, nil
}

// entry is what an entry of the stream holds.
type entry struct {
	at     socketio.Position
	uid    string
	nsp    string
	serial uint64
	kind   string
	data   string
}

// read takes the fields of an entry.
func read(x redis.XMessage) (entry, error) {
	at, err := socketio.ParsePosition(x.ID)
	if err != nil {
		return entry{}, err
	}
	field := func(name string) string {
		s, _ := x.Values[name].(string) // it is a string or absent
		return s
	}
	e := entry{at: at, uid: field(fieldUID), nsp: field(fieldNSP), kind: field(fieldType), data: field(fieldData)}
	if s := field(fieldSerial); s != "" {
		if e.serial, err = strconv.ParseUint(s, 10, 64); err != nil {
			return e, fmt.Errorf("%w: the number %q", parser.ErrSyntax, s)
		}
	}
	return e, nil
}

// message decodes an entry.
func (e entry) message() (*socketio.NodeMessage, error) {
	c := clusterMessage{UID: e.uid, NSP: e.nsp}
	var err error
	if c.Type, err = strconv.Atoi(e.kind); err != nil {
		return nil, fmt.Errorf("%w: the type %q", parser.ErrSyntax, e.kind)
	}
	data, attachments := json.RawMessage(e.data), [][]byte(nil)
	if e.data == "" {
		data = json.RawMessage("{}")
	} else if e.data[0] != '{' {
		packed, err := base64.StdEncoding.DecodeString(e.data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", parser.ErrSyntax, err)
		}
		if data, attachments, err = parser.Unpack(packed, maxAttachments); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(data, &c.Data); err != nil {
		return nil, fmt.Errorf("%w: %w", parser.ErrSyntax, err)
	}
	m, err := c.message()
	if err != nil {
		return nil, err
	}
	m.Attachments, m.At = attachments, e.at
	return m, nil
}

// stored is a session as its key holds it: base64 of MessagePack. Node servers don't know the last
// field.
type stored struct {
	PID   string          `json:"pid"`
	SID   string          `json:"sid"`
	Rooms names           `json:"rooms"`
	Data  json.RawMessage `json:"data"`
	More  json.RawMessage `json:"supabridge,omitempty"`
}

// packedNil, in front of a session, has Node servers fail over it, so that they begin a new one.
const packedNil = 0xc0

func encodeSession(s *socketio.KeptSession) (string, error) {
	text, err := encoded(stored{s.PID, s.SID, s.Rooms, s.Data, s.More}, nil)
	if err != nil {
		return "", err
	}
	var b []byte
	if s.Exclusive {
		b = append(b, packedNil)
	}
	if b, err = parser.AppendPacked(b, text, nil); err != nil {
		return "", fmt.Errorf("encode a session: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// decodeSession is the reverse. A session whose data holds bytes is an error: they have no place in
// JSON.
func decodeSession(text string) (*socketio.KeptSession, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("decode a session: %w: %w", parser.ErrSyntax, err)
	}
	exclusive := len(b) > 0 && b[0] == packedNil
	if exclusive {
		b = b[1:]
	}
	content, _, err := parser.Unpack(b, 0)
	if err != nil {
		return nil, fmt.Errorf("decode a session: %w", err)
	}
	var s stored
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("decode a session: %w: %w", parser.ErrSyntax, err)
	}
	if bytes.Equal(s.More, []byte("null")) {
		s.More = nil
	}
	return &socketio.KeptSession{
		PID:       s.PID,
		SID:       s.SID,
		Rooms:     s.Rooms,
		Data:      s.Data,
		More:      s.More,
		Exclusive: exclusive,
	}, nil
}

// Save stores the session of a client that is away: see [socketio.Keeper].
func (a *Adapter) Save(s *socketio.KeptSession, done func(stored bool)) error {
	text, err := encodeSession(s)
	if err != nil {
		return err
	}
	s.Token = fmt.Sprintf("%x", sha1.Sum([]byte(text)))
	key, expires := a.opts.SessionPrefix+s.PID, max(s.Expires, time.Millisecond)
	return a.sender.put(
		outgoing{channel: key, size: len(key) + len(text), do: func(ctx context.Context, p redis.Pipeliner) redis.Cmder {
			return p.Set(ctx, key, text, expires)
		}, done: func(c redis.Cmder) { done(c != nil) }},
	)
}

// remove removes a session if it is the one with that SHA-1.
const remove = `local v = redis.call('GET', KEYS[1])
if v and redis.sha1hex(v) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`

// Drop removes the session that a Save has stored, if it is still that.
func (a *Adapter) Drop(pid, token string, done func(there bool)) {
	key := a.opts.SessionPrefix + pid
	_ = a.sender.put(
		outgoing{
			channel: key,
			size:    len(key) + len(token),
			lasting: true,
			do: func(ctx context.Context, p redis.Pipeliner) redis.Cmder {
				return p.Eval(ctx, remove, []string{key}, token)
			},
			done: func(c redis.Cmder) {
				eval, ok := c.(*redis.Cmd)
				n := 0
				if ok {
					n, _ = eval.Int() // an error means that nobody knows
				}
				done(n > 0)
			},
		},
	) // which is never refused
}

// grab gives the text of a session and the milliseconds that it has left, and removes it. A script,
// so that nobody comes between.
const grab = `local v = redis.call('GET', KEYS[1])
if not v then return false end
local left = redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
return {v, left}`

// Take removes a session and returns it; nil if there is none. The command waits in the queue like
// all others, so that it comes after what was saved before. While Redis is away it fails at once.
func (a *Adapter) Take(ctx context.Context, pid string) (*socketio.KeptSession, error) {
	if !a.up.Load() && a.breaks.Load() > 0 {
		return nil, errAway
	}
	key := a.opts.SessionPrefix + pid
	var settled atomic.Bool // by the answer, or by the end of ctx: whichever comes first
	answer := make(chan redis.Cmder, 1)
	err := a.sender.put(
		outgoing{channel: key, size: len(key), void: &settled, do: func(ctx context.Context, p redis.Pipeliner) redis.Cmder {
			return p.Eval(ctx, grab, []string{key})
		}, done: func(c redis.Cmder) {
			if settled.CompareAndSwap(false, true) {
				answer <- c
			} else if s, err := grabbed(c); err == nil && s != nil {
				_ = a.Save(s, func(bool) {}) // nobody waits for it any more
			}
		}},
	)
	if err != nil {
		return nil, fmt.Errorf("redisadapter: take a session: %w", err)
	}
	var c redis.Cmder
	select {
	case c = <-answer:
	case <-ctx.Done():
		if settled.CompareAndSwap(false, true) {
			return nil, fmt.Errorf("redisadapter: take a session: %w", ctx.Err())
		}
		c = <-answer
	}
	s, err := grabbed(c)
	if err != nil {
		return nil, fmt.Errorf("redisadapter: take a session: %w", err)
	}
	return s, nil
}

// grabbed reads the answer.
func grabbed(c redis.Cmder) (*socketio.KeptSession, error) {
	eval, ok := c.(*redis.Cmd)
	if !ok {
		return nil, errDropped
	}
	values, err := eval.Slice()
	if err == redis.Nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(values) != 2 {
		return nil, fmt.Errorf("%w: %d values", parser.ErrSyntax, len(values))
	}
	text, _ := values[0].(string)
	left, _ := values[1].(int64)
	s, err := decodeSession(text)
	if err != nil {
		return nil, err
	}
	s.Expires = time.Duration(left) * time.Millisecond
	return s, nil
}
