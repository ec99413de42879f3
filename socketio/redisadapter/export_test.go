package redisadapter

import (
	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/socketio"
)

// anyone is a server in which every room is occupied.
type anyone struct{}

func (anyone) Node() string                  { return "self" }
func (anyone) Deliver(*socketio.NodeMessage) {}
func (anyone) Occupied(string, string) bool  { return true }

// Decode gives what the protocols make of a payload.
func Decode(payload []byte, r int) []*socketio.NodeMessage {
	if len(payload) == 0 {
		return nil
	}
	var list []*socketio.NodeMessage
	for _, w := range []wire{&classic{prefix: "p"}, &sharded{prefix: "p"}} {
		w.begin(anyone{})
		if m, err := w.decode(route{role: role(r), namespace: "/"}, "p#/#", payload); err == nil && m != nil {
			list = append(list, m)
		}
	}
	return list
}

// DecodeEntry gives what an entry of a stream with these fields says.
func DecodeEntry(id, nsp, kind, data, serial string) (*socketio.NodeMessage, error) {
	e, err := read(redis.XMessage{ID: id, Values: map[string]any{fieldUID: "x", fieldNSP: nsp, fieldType: kind, fieldData: data, fieldSerial: serial}})
	if err != nil {
		return nil, err
	}
	return e.message()
}

// DecodeSession gives the session that a key holds.
func DecodeSession(text string) (*socketio.KeptSession, error) { return decodeSession(text) }

// EncodeSession is the reverse.
func EncodeSession(s *socketio.KeptSession) (string, error) { return encodeSession(s) }

// Slot gives the slot of a channel.
func Slot(channel string) int { return slot(channel) }
