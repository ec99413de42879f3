// Package socketio is a Socket.IO v5 server: the socket.io-client library, in browsers, Node.js and elsewhere, connects to it
// unchanged (Engine.IO 4, over websocket or HTTP long-polling with upgrade).
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
// They are those of the Node.js library, with Go's spelling: a [Server] has namespaces ([Server.Of]), to which clients connect
// as [Socket]s, which are in rooms ([Socket.Join]). [Namespace.To] and its kin choose whom an event goes to. A Server is its own
// main namespace, "/". The file COMING_FROM_NODE.md maps call to call.
//
// # Handlers
//
// Handlers are plain functions. The events of one connection are handled in order, one at a time, on a goroutine of the server's; a
// handler that takes long holds up only its own connection's later events. Acknowledgements and disconnects are noticed
// meanwhile: a handler may wait for [Socket.EmitWithAck], and [Socket.Context] ends when the client has gone. A panic in
// a handler is not caught.
//
// # Slow clients
//
// What is sent waits in one queue for each connection, bounded by [Options.MaxQueueBytes] and [Options.MaxQueuePackets].
// Sending never blocks. A client that lets its queue fill up is disconnected, with the reason "queue full"; volatile
// messages are dropped for a client that isn't reading. The library's delivery promise is at most once; connection state recovery
// ([Options.Recovery]) brings what was missed during a short loss of the connection.
//
// # Goroutines
//
// With the first connection the server starts what package engineio describes: a timer wheel, on Linux one goroutine that waits
// for readiness, and workers as they are needed, on which handlers run. Middleware runs there too. [Server.Shutdown] and
// [Server.Close] stop all of them and wait; a handler that does not return holds them up.
package socketio
