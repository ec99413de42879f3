package redisadapter

import "github.com/supabridge/supabridge/socketio"

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
