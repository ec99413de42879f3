package record

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// Words that tell what a name is about.
var (
	tenantWords = []string{
		"tenant",
		"organization",
		"organisation",
		"org",
		"distributor",
		"company",
		"workspace",
		"business",
		"agency",
		"branch",
		"team",
		"empresa",
		"campus",
		"account",
	}
	conversationWords = []string{
		"conversation",
		"conv",
		"room",
		"chat",
		"thread",
		"ticket",
		"channel",
		"dialog",
		"dialogue",
		"inbox",
		"group",
		"discussion",
		"topic",
	}
	typingWords = []string{"typing", "composing", "compose", "writing", "keystroke"}
	startWords  = []string{"start", "started", "begin", "began", "on"}
	stopWords   = []string{
		"stop",
		"stopped",
		"stops",
		"end",
		"ended",
		"off",
		"pause",
		"paused",
		"clear",
		"idle",
		"done",
	}
	enterWords    = []string{"join", "enter", "open", "subscribe", "watch", "select", "view", "follow", "setup"}
	leaveWords    = []string{"leave", "exit", "close", "unsubscribe", "unwatch", "unfollow", "quit"}
	readWords     = []string{"read", "seen", "viewed", "unread"}
	aliveWords    = []string{"ping", "heartbeat", "alive", "keepalive", "pulse"}
	tokenWords    = []string{"auth", "authenticate", "authorize", "token", "login", "refresh"}
	ownWords      = []string{"user", "me", "self", "notification", "notifications", "register", "identify", "profile"}
	statusWords   = []string{"online", "offline", "away", "busy", "status", "presence", "available"}
	askWords      = []string{"get", "list", "fetch", "request", "load"}
	messageWords  = []string{"message", "messages", "msg", "reply", "chat"}
	goneWords     = []string{"deleted", "delete", "removed", "remove", "destroyed"}
	changedWords  = []string{"updated", "update", "edited", "edit", "changed", "change", "modified"}
	notifyWords   = []string{"notification", "notify", "alert", "toast"}
	deliveryWords = []string{"status", "delivered", "delivery", "sent", "receipt", "ack"}
	failureWords  = []string{"error", "err", "exception", "failed", "denied", "unauthorized"}
)

// guessIntent tells by its name and arguments what a frontend wants with an event that the
// vocabulary does not know. ok is false where nothing fits.
func guessIntent(name string, samples [][]json.RawMessage) (intent string, ok bool) {
	w := words(name)
	switch {
	case has(w, typingWords...):
		switch {
		case has(w, stopWords...):
			return "typing_stop", true
		case has(w, startWords...):
			return "typing_start", true
		}
		return "typing", true
	case has(w, readWords...):
		return "mark_read", true
	case has(w, enterWords...):
		switch {
		case has(w, tenantWords...):
			return "join_tenant", true
		case has(w, ownWords...) && !has(w, conversationWords...):
			return "heartbeat", true // a socket is in its user's own room without asking
		}
		return "join", true
	case has(w, leaveWords...):
		switch {
		case has(w, tenantWords...):
			return "leave_tenant", true
		case has(w, ownWords...) && !has(w, conversationWords...):
			return "heartbeat", true
		}
		return "leave", true
	case has(w, aliveWords...):
		return "heartbeat", true
	case has(w, tokenWords...):
		return "renew_token", true
	case has(w, statusWords...) && has(w, askWords...):
		return "list_presence", true
	case has(w, statusWords...):
		return "set_status", true
	case has(w, "users", "members") && has(w, askWords...):
		return "list_online", true
	case has(w, messageWords...) || has(w, "send", "post"):
		return "send_message", true
	case has(w, ownWords...) && len(samples) > 0:
		return "heartbeat", true
	}
	return "", false
}

// guessEvent tells by its name and arguments what a server says with an event.
func guessEvent(name string, args []json.RawMessage) (events []vocabulary.Event) {
	w := words(name)
	about := func(all ...string) bool { return has(w, all...) }
	var payload row.Row
	if len(args) > 0 {
		payload, _ = row.Parse(args[0]) // what is no object has no fields
	}
	field := func(names ...string) bool {
		return slices.ContainsFunc(payload.Columns, func(c row.Column) bool { return has(words(c.Name), names...) })
	}
	list := len(args) > 0 && len(args[0]) > 0 && args[0][0] == '['
	switch {
	case about(failureWords...):
		return []vocabulary.Event{vocabulary.Failure}
	case about(typingWords...):
		switch {
		case about(stopWords...):
			return []vocabulary.Event{vocabulary.TypingStopped}
		case boolAt(args) != nil:
			return []vocabulary.Event{vocabulary.TypingStarted, vocabulary.TypingStopped}
		}
		return []vocabulary.Event{vocabulary.TypingStarted}
	case about(notifyWords...):
		return []vocabulary.Event{vocabulary.Notification}
	case about(readWords...):
		return []vocabulary.Event{vocabulary.MessagesRead}
	case about(messageWords...) && about(goneWords...):
		return []vocabulary.Event{vocabulary.MessageDeleted}
	case about(messageWords...) && about(deliveryWords...), about(deliveryWords...) && field("message"):
		return []vocabulary.Event{vocabulary.MessageStatus}
	case about(messageWords...) && about(changedWords...):
		return []vocabulary.Event{vocabulary.MessageUpdated}
	case list && (about("online", "users", "presence", "members")):
		return []vocabulary.Event{vocabulary.OnlineUsers}
	case about("offline", "disconnected", "left") && !about(conversationWords...):
		return []vocabulary.Event{vocabulary.UserOffline}
	case about("online", "connected") && !about(conversationWords...):
		return []vocabulary.Event{vocabulary.UserOnline}
	case about("presence", "status", "availability", "away", "busy"):
		return []vocabulary.Event{vocabulary.PresenceUpdate}
	case about("joined"):
		return []vocabulary.Event{vocabulary.Joined}
	case about("left"):
		return []vocabulary.Event{vocabulary.Left}
	case about(messageWords...), field("message", "content", "body", "text"):
		return []vocabulary.Event{vocabulary.MessageCreated}
	case about(conversationWords...) && about(goneWords...):
		return []vocabulary.Event{vocabulary.ConversationDeleted}
	case about(conversationWords...) && about(changedWords...):
		return []vocabulary.Event{vocabulary.ConversationUpdated}
	case about(conversationWords...):
		return []vocabulary.Event{vocabulary.ConversationCreated}
	}
	return nil
}

// boolAt gives the place of the boolean among arguments, as a selector's steps; nil where there is
// none.
func boolAt(args []json.RawMessage) []string {
	for i, arg := range args {
		if isBool(arg) {
			return []string{strconv.Itoa(i)}
		}
		if object, err := row.Parse(arg); err == nil {
			for _, c := range object.Columns {
				if isBool(c.Value) {
					return []string{strconv.Itoa(i), c.Name}
				}
			}
		}
	}
	return nil
}

func isBool(raw json.RawMessage) bool { return string(raw) == "true" || string(raw) == "false" }

// idAt finds where an event has the id of what it is about, as a selector: a value that is known to
// be one, else by the name of the field.
func idAt(samples [][]json.RawMessage, known map[string]bool, nouns []string) (selector string, ok bool) {
	var byName, byID, byFirst string
	for _, args := range samples {
		for i, arg := range args {
			hit := ""
			walk(arg, []string{"$" + strconv.Itoa(i)}, 0, func(path []string, value json.RawMessage) {
				at := strings.Join(path, ".")
				last := words(path[len(path)-1])
				switch {
				case hit == "" && known[row.Text(value)]:
					hit = at
				case byName == "" && len(path) > 1 && has(last, nouns...):
					byName = at
				case byName == "" && len(path) > 2 && has(words(path[len(path)-2]), nouns...) && has(last, "id", "key", "uuid", "slug"):
					byName = at
				case byID == "" && len(path) > 1 && has(last, "id") && !has(last, "user", "sender", "message"):
					byID = at
				case byFirst == "" && len(path) == 1:
					byFirst = at
				}
			})
			if hit != "" {
				return hit, true
			}
		}
	}
	for _, at := range []string{byName, byID, byFirst} {
		if at != "" {
			return at, true
		}
	}
	return "", false
}

// walk calls f for each text and number within a value.
func walk(raw json.RawMessage, path []string, depth int, f func(path []string, value json.RawMessage)) {
	if len(raw) == 0 || depth > maxDepth {
		return
	}
	switch c := raw[0]; {
	case c == '{':
		object, err := row.Parse(raw)
		if err != nil {
			return
		}
		for _, field := range object.Columns {
			if !strings.Contains(field.Name, ".") && field.Name != "" {
				walk(field.Value, append(slices.Clone(path), field.Name), depth+1, f)
			}
		}
	case c == '"' || c == '-' || c >= '0' && c <= '9':
		f(path, raw)
	}
}
