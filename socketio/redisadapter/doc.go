// Package redisadapter joins Socket.IO servers of several processes by Redis, in the words of the Node packages: nodes of this package and Node
// servers with @socket.io/redis-adapter 8 serve the same rooms, and @socket.io/redis-emitter 5 sends to them.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	adapter, err := redisadapter.New(client, redisadapter.Options{})
//	io := socketio.NewServer(socketio.Options{Adapter: adapter})
//
// An adapter serves one server. It starts two goroutines, one that sends what waits and one that listens, and a few beside the latter (with sharded channels of a Redis
// Cluster sixteen that send and two for each master); [Adapter.Close],
// which the server calls, ends them all. The client stays the caller's.
//
// Redis need not be there, neither at the start nor later: the server then goes on alone, what it would have sent waits, within bounds, and goes out once
// Redis is back and the other nodes listen again. What another node sent while this one could not hear is lost: Redis keeps nothing of what it publishes.
package redisadapter
