// Package engineio is an Engine.IO v4 server: connections that carry whole messages, text or
// binary, over websocket or HTTP long-polling, upgraded from the second to the first while they are
// open.
//
// A [Server] is an http.Handler. For each new connection it asks [Options.Accept] for a [Handler]
// and hands it every message in order; [Conn.Send] goes the other way and never blocks.
//
//	srv := engineio.NewServer(engineio.Options{
//		Paths:  []string{"/engine.io"},
//		Accept: func(c *engineio.Conn) engineio.Handler { return &echo{c} },
//	})
//	defer srv.Close()
//	http.ListenAndServe("127.0.0.1:8080", srv)
//
// # How it works
//
// A message is encoded and framed once ([NewText], [NewBinary]) and may be sent to any number of
// connections: a server's websocket frames are not masked, so the same bytes do for all. Each
// connection has one bounded queue. Nothing is written by the sender: a connection with something
// pending is put on a list, and workers write what each has pending in one system call. What
// gathers meanwhile goes out together; there is no timer in the way. A connection whose queue is
// full is closed.
//
// On Linux a plain TCP connection at rest has no goroutine and no buffer: its descriptor is taken
// over from net/http, readiness is learnt by epoll, and a worker borrows a buffer to read. With TLS
// in this process, and on other systems, each websocket has one goroutine that reads.
//
// # Goroutines
//
// A Server starts, with its first connection, one goroutine for heartbeats (a timer wheel), one
// that waits for readiness (Linux), and workers as they are needed; few of them stay when idle.
// [Server.Shutdown] and [Server.Close] stop all of them and wait for them.
package engineio
