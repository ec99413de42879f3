// Package ratelimit holds clients to the limits of the configuration: events by intent, connections
// and rooms, of one socket, one user, one address.
//
//	limits, err := ratelimit.Compile(cfg.Limits)
//	users := ratelimit.NewMeters()
//	meter, ok := users.Admit(user, limits.User.Connections)
//	defer users.Leave(user)
//	if !meter.Allow(limits.UserRates, vocabulary.StartTyping) { … }
//
// It starts no goroutine. A Meter guards its own state; Meters guard which there are.
package ratelimit
