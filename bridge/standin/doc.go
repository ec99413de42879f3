// Package standin is a Supabase in one process, in memory: tables with row security, the part of PostgREST that
// supabase-js sends for an application's tables, Realtime on the same tables, and the tokens for all of it. It is what the
// dev command runs against and what tests have as their backend.
//
//	server, err := standin.New(standin.Options{})
//	if err != nil {
//		return err
//	}
//	defer server.Close(context.Background())
//	http.ListenAndServe("127.0.0.1:54321", server.Handler())
//
// Goroutines are started only by Realtime, for its sockets and its feed of changes; Close ends them and waits. REST runs on
// those of the http.Server.
//
// The tables come from a seed in YAML (see [ParseSeed]); without one they are those of a WhatsApp inbox: distributors,
// users, conversations and messages.
package standin
