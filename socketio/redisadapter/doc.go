// Package redisadapter joins Socket.IO servers of several processes by Redis, in the words of the
// Node packages: nodes of this package and Node servers with @socket.io/redis-adapter 8 serve the
// same rooms, and @socket.io/redis-emitter 5 sends to them. In the mode [Streams] the words are
// those of @socket.io/redis-streams-adapter.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	adapter, err := redisadapter.New(client, redisadapter.Options{})
//	io := socketio.NewServer(socketio.Options{Adapter: adapter})
//
// An adapter serves one server. It starts two goroutines, one that sends what waits and one that
// listens, and a few beside the latter (with sharded channels of a Redis Cluster sixteen that send
// and two for each master; in the mode Streams one that reads the stream and one that reads what
// was there before); [Adapter.Close], which the server calls, ends them all. The client stays the
// caller's.
//
// Redis need not be there, neither at the start nor later: the server then goes on alone, what it
// would have sent waits, within bounds, and goes out once Redis is back and the other nodes listen
// again. What another node sent while this one could not hear is lost, but in the mode Streams:
// Redis keeps nothing of what it publishes.
//
// # Streams
//
// Events to rooms, and having sockets join, leave or disconnect, are entries of one Redis stream,
// of which Redis keeps the newest ([Options.MaxLen]). A node reads on from the last that it has
// read, so that it misses nothing unless it is away for longer than the stream reaches back; then
// [Stats] count a gap. Questions (acknowledgements of many, fetchSockets, serverSideEmit), their
// answers and volatile events are published, as Node servers publish the first of these.
//
// With [socketio.Recovery] and its Export the adapter is a [socketio.Keeper]: a client that comes
// back to another node than it left gets its socket and what it missed. Sessions are in Redis,
// under the keys of the Node adapter, in its encoding, so that clients move between Node servers
// and these in both directions. Where something would be lost they don't:
//
//   - A client of this package's servers whose last event was one that its node alone had sent
//     ([socketio.Socket.Emit], [socketio.Target.Local]), or that may have missed such a one, begins
//     anew at a Node server. A Node server sends these through the stream, so that theirs come
//     along.
//   - A Node server sends its own events to its clients before those that came first, and a
//     client's offset there is that of the last it got. What came between is lost to a client that
//     leaves at that moment; servers of this package send their own events in the order of the
//     stream.
//   - A client that is half gone (its connection is dead, and its node has not noticed) is given up
//     by nodes of this package when it comes to another one of them. Node servers don't, and it
//     begins anew.
//
// Not supported: more than one stream (streamCount), sharded channels for what is published
// (useShardedPubSub). Redis 6.2 or later is needed, 7 to know of a stream without a gap that it is
// whole.
package redisadapter
