package config

import (
	"reflect"
	"slices"
	"strings"
)

// live are the keys, and sections of keys, that the daemon takes on while it runs. The others
// decide what is opened, subscribed to or allocated when it starts, or what sockets in rooms count
// on.
var live = []string{
	"log.level",
	"supabase.feed.overlap",
	"supabase.feed.interval",
	"supabase.feed.stall",
	"supabase.polling",
	"rooms.conversation.parse",
	"rooms.tenant.parse",
	"rooms.conversation.rules",
	"rooms.conversation.claims",
	"rooms.conversation.membership",
	"rooms.tenant.rules",
	"rooms.tenant.claims",
	"rooms.tenant.membership",
	"rooms.authorization.recheck_every",
	"rooms.authorization.recheck_rate",
	"rooms.authorization.callback.url",
	"rooms.authorization.callback.secret",
	"rooms.authorization.callback.timeout",
	"rooms.authorization.allowed_for",
	"rooms.authorization.refused_for",
	"vocabulary",
	"socketio.cors",
	"limits",
	"auth.credentials",
	"auth.authenticate_within",
	"auth.audience",
	"auth.issuers",
	"auth.leeway",
	"auth.tenant_claims",
	"auth.user_written_claims",
	"auth.refuse_message",
	"auth.refuse_messages",
	"typing",
	"sending",
	"presence.grace",
	"ops.tail_bodies",
	"ops.shutdown_timeout",
}

// isLive tells whether the key can change while the daemon runs.
func (k *key) isLive() bool {
	return slices.ContainsFunc(
		live,
		func(path string) bool { return k.path == path || strings.HasPrefix(k.path, path+".") },
	)
}

// Replace compares a configuration with the one that is to take its place in a running daemon. It
// returns the keys whose values differ, in the order of the tree, and Errors where one of them is
// fixed while the daemon runs, with the place the new value stands.
func (c *Config) Replace(next *Config) (changed []string, err error) {
	var errs Errors
	for k := range root().leaves() {
		if reflect.DeepEqual(k.in(c).Interface(), k.in(next).Interface()) {
			continue
		}
		changed = append(changed, k.path)
		if !k.isLive() {
			errs.add(next.origins[k.path], k.path, "can't change while the daemon runs; restart it, or take the change back")
		}
	}
	return changed, errs.orNil()
}
