package bus

import "github.com/redis/go-redis/v9"

// Take gives an entry of the stream to a listener.
func Take(l Listener, values map[string]any, id string) {
	New(nil, Options{}).hear(&place{id: beginning}, &redis.XMessage{ID: id, Values: values}, l)
}
