// Package phoenix is a client for Supabase Realtime: row changes, broadcast and
// presence over Phoenix Channels.
//
// A Client holds one WebSocket and keeps it: it reconnects with jittered back-off,
// rejoins its channels with fresh tokens, tells apart "joined" from "live" (the
// server streams changes only some time after it accepted the join), and marks
// every spot where events may be missing with a Gap.
//
//	c, err := phoenix.NewClient("https://ref.supabase.co", phoenix.Options{APIKey: key})
//	if err != nil { … }
//	defer c.Close(context.Background())
//	ch, err := c.Channel("inbox", phoenix.ChannelOptions{
//		Changes: []phoenix.Binding{{Event: phoenix.All, Schema: "public", Table: "messages"}},
//	})
//	if err != nil { … }
//	for ev := range ch.Follow(ctx) {
//		switch ev := ev.(type) {
//		case *phoenix.Live:   // from here on every change arrives: re-read since ev.Since
//		case *phoenix.Change: // ev.Type, ev.Table, ev.Record
//		}
//	}
//
// # What arrives, and what may not
//
// Realtime delivers at most once and has no sequence numbers. What commits while
// the connection is down, or before the server reports the feed as live, is never
// sent. The package can't bring it back; it says when it happened: a Gap, followed
// by the Live from which on the stream is whole again. Whoever needs every row
// re-reads, after that Live, from Live.Since minus the longest transaction expected,
// and knows rows again by their key: the example of following a table does.
//
// # Cost
//
// A change of 1 KiB costs 3 allocations and 1,336 bytes from the socket to the
// consumer, the frame's own bytes among them; see BenchmarkDispatchChange1KiB.
//
// # Several connections
//
// One socket is served by one process: a refused join holds everything on it up for
// 5 s, and broadcasts over a limit close channels. Give what must not wait, such as a
// table's changes, a Client of its own, and what carries users' tokens another.
//
// # Goroutines
//
// NewClient starts one goroutine that owns all state of the client and its
// channels; Close ends it. Each connection adds one reader and one writer. A dial
// or a question to a token source runs in a goroutine for as long as it takes.
// Close waits for all of them. Channels have no goroutine of their own.
package phoenix
