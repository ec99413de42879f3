// Package outbox keeps requests on disk until they are delivered: what Add has taken is there after
// a crash, is delivered at least once, in order within a lane, and what can't be delivered is kept
// aside for people to look at.
//
//	box, err := outbox.Open(outbox.Options{Path: "/var/lib/supabridge/outbox.db", Deliver: map[string]outbox.Deliver{"store": store}})
//	added, err := box.Add(ctx, "token:abc", outbox.Entry{Target: "store", Lane: conversation, Body: body})
//	box.Run(ctx) // delivers until ctx ends
//	box.Close()
//
// The file is one bbolt database. A write-ahead log of our own would be faster and would have to be
// proven; a broker would be one more thing to run. One goroutine writes (commit.go), many requests
// to a commit, since a commit waits for the disk: that is what makes a thousand a second work. Open
// starts it and Close ends it. Run starts a goroutine for each delivery under way, at most Workers,
// and has waited for them when it returns.
package outbox
