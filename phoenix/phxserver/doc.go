// Package phxserver is the server half of Supabase Realtime: Phoenix Channels over a
// WebSocket, protocol versions 1.0.0 and 2.0.0, with broadcast, presence and
// postgres_changes as Supabase's own server has them, down to the texts of its
// errors. It serves stand-ins and tests; what it knows of keys, policies and tables
// it asks a Backend.
//
//	srv := phxserver.NewServer(backend, phxserver.Options{})
//	defer srv.Close(ctx)
//	http.Handle("/realtime/v1/websocket", srv)
//	http.Handle("/realtime/v1/api/broadcast", srv.BroadcastHandler())
//
// Zero Options answer at once where the real server lets its clients wait, and
// limit nothing; RealTiming and RealLimits give the real one's values. Inject makes
// outages happen.
//
// # Goroutines
//
// NewServer starts one goroutine, and each connection has two: one reads frames, the
// other does the rest and owns the connection's state, so that a join that takes
// long holds up the whole connection, as it does in the real server. Close ends them
// all and waits for them. Timers of tokens and subscriptions end with their channel.
//
// # Bounds
//
// A frame is at most 5,000,000 bytes, the body of a REST broadcast 8,000,000. What
// waits for a client is at most 65,536 messages or 50 MB; a client that falls
// behind is cut off. Changes that wait for the next round of polling are at most
// 65,536 transactions; more are lost, as they are from the real server. Private
// messages from the database are kept for replay, 200 of a topic and 1,000 topics.
package phxserver
