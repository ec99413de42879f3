// Package access decides who may enter a room, and takes users out of rooms that they may not be in
// any more.
//
//	a, err := access.New(access.Options{Settings: access.Compile(cfg), Rows: rows, Registry: registry})
//	r := access.NewRechecker(a, registry, log)
//	go r.Run(ctx)
//	stored, err := a.MayEnter(ctx, who, access.ConversationRoom, id) // ErrRefused: the answer is no
//	r.Watch(session)                                                 // until r.Forget(session)
//
// The rules are those of the configuration (rules.go). The Authorizer remembers answers for a
// while. A remembered answer lets a session into a room, and the Rechecker asks about the room
// again from time to time, and at once where what the answer rests on has changed. Rows that were
// written before, or while a session was away, are handed over only by an answer of AskFresh.
//
// The package sees a session through the interface Session alone. It calls its methods outside its
// own mutexes, except for Checked, which must not wait.
//
// A mutex guards the Authorizer's answers, and another what others hand over to the Rechecker. Run
// has three goroutines, which end with its context. Each question of AskFresh has one, and Close
// waits for those.
package access
