// Package socketio is a Socket.IO v5 server: the socket.io-client library, in browsers, Node.js and
// elsewhere, connects to it unchanged (Engine.IO 4, over websocket or HTTP long-polling with
// upgrade).
//
//	io := socketio.NewServer(socketio.Options{})
//	defer io.Close()
//	io.OnConnection(func(s *socketio.Socket) {
//		s.Join("lobby")
//		s.On("say", func(e *socketio.Event) {
//			s.To("lobby").Emit("said", e.Args[0]) // JSON text passes through undecoded
//			e.Ack("ok")
//		})
//	})
//	http.ListenAndServe("127.0.0.1:3001", io)
//
// # Names
//
// They are those of the Node.js library, with Go's spelling: a [Server] has namespaces
// ([Server.Of]), to which clients connect as [Socket]s, which are in rooms ([Socket.Join]).
// [Namespace.To] and its kin choose whom an event goes to. A Server is its own main namespace, "/".
// The file COMING_FROM_NODE.md maps call to call.
//
// # Handlers
//
// Handlers are plain functions. The events of one connection are handled in order, one at a time,
// on a goroutine of the server's; a handler that takes long holds up only its own connection's
// later events. Acknowledgements and disconnects are noticed meanwhile: a handler may wait for
// [Socket.EmitWithAck], and [Socket.Context] ends when the client has gone. A panic in a handler is
// not caught.
//
// # Slow clients
//
// What is sent waits in one queue for each connection, bounded by [Options.MaxQueueBytes] and
// [Options.MaxQueuePackets]. Sending never blocks. A client that lets its queue fill up is
// disconnected, with the reason "queue full"; volatile messages are dropped for a client that isn't
// reading. The library's delivery promise is at most once; connection state recovery
// ([Options.Recovery]) brings what was missed during a short loss of the connection.
//
// # Several nodes
//
// An [Adapter] joins the servers of several processes. With one that is a [Keeper] (package
// redisadapter has it, in its mode Streams) and [Recovery].Export, a client that comes back to
// another node than it left is recovered there all the same. This is what holds then:
//
//   - Events to rooms ([Target.Emit], unless local or volatile) are kept for all nodes, and come
//     back from the Keeper to the node that emitted them too, after the way to it and back: so all
//     nodes send them in one order. They may come after what the same goroutine sends later by
//     [Socket.Emit] or [Target.Local], which go out at once. While the Keeper is away a node's own
//     clients get them at once, and not again when it is back.
//   - What a node sends to its clients alone, by [Socket.Emit] or [Target.Local], is recovered at
//     that node only. A client that has missed such an event is a new one at any other node. Where
//     every node emits the same by itself, [Target.Mirrored] has it recovered everywhere.
//   - A client is recovered only where it can be shown that it gets everything once: not if
//     something was lost on the way, if its node died (it saved nothing), or if the new node knows
//     too little of the past. It then is a new client, as it is after too long an absence:
//     [Socket.Recovered] says so to the application, the property recovered to the client.
//   - A client that comes back to its own node is recovered there as without an adapter, local
//     events included. Its session is in the Keeper meanwhile: while that is away, a client whose
//     session was stored before is a new one at its own node too, since nobody can say whether
//     another node has taken it.
//   - What a node sends by [Socket.Emit] or [Target.Local] to a client that is away, in the very
//     moment in which the client comes to another node, may be lost.
//   - A node keeps for recovery what is sent to all rooms, whether anybody is in them or not,
//     within [Recovery].MaxBytes and MaxPackets of each namespace; one that starts reads it from
//     the Keeper.
//
// # Goroutines
//
// With the first connection the server starts what package engineio describes: a timer wheel, on
// Linux one goroutine that waits for readiness, and workers as they are needed, on which handlers
// run. Middleware runs there too. [Server.Shutdown] and [Server.Close] stop all of them and wait; a
// handler that does not return holds them up.
package socketio
