// Package realtime is Supabase Realtime on the tables of the stand-in: changes, broadcast and
// presence, with the policies that decide who may use a private channel.
//
//	rt := realtime.New(db, tokens, realtime.Options{})
//	defer rt.Close(context.Background())
//	rt.Mount(mux)
//
// Package phxserver speaks the protocol and owns sockets, channels and goroutines; [Realtime.Close]
// ends them and waits. This package answers its questions: whose token is it, what may they do on a
// topic, which tables are published, who may see a row. A Realtime owns the policies and the guard
// of supabridge's lane; rows are the DB's, which it listens to until Close.
package realtime
