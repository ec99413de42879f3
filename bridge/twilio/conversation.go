package twilio

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Events of Twilio Conversations. They are posted with EventType, and name an author in place of
// From and To: one conversation may hold several customers and several of the application's own
// people.
const (
	messageAdded    = "onMessageAdded"
	deliveryUpdated = "onDeliveryUpdated"
)

// outside is an author who writes from outside: a telephone number, with or without its channel, or
// an account of a channel that has no numbers. Any other author is an identity of the
// application's.
var outside = regexp.MustCompile(`^(?:[a-z]+:)?\+[0-9]{3,15}$|^(?:messenger|instagram|gbm):.+$`)

// readConversation understands an event of Conversations.
func (e *Event) readConversation() {
	e.Type = e.Params.Get("EventType")
	if author := e.Params.Get("Author"); outside.MatchString(author) {
		e.From = author
	}
	e.Media = conversationMedia(e.Params.Get("Media"), e.Params.Get("ChatServiceSid"))
	switch {
	case e.Sid == "":
	case e.Type == messageAdded:
		e.Kind = Message
	case e.Type == deliveryUpdated && e.Params.Get("Status") != "":
		e.Kind, e.Status = Status, e.Params.Get("Status")
	}
}

// conversationMedia reads the list of attachments, which comes as JSON.
func conversationMedia(list, service string) (all []Media) {
	var items []struct{ Sid, ContentType string }
	if json.Unmarshal([]byte(list), &items) != nil {
		return nil
	}
	for _, item := range items[:min(len(items), maxMedia)] {
		if sid := clean(item.Sid); sid != "" { // JSON may have NUL in it that its text hasn't
			all = append(
				all,
				Media{"https://mcs.us1.twilio.com/v1/Services/" + service + "/Media/" + sid, clean(item.ContentType)},
			)
		}
	}
	return all
}

// PreAction reports whether Twilio waits for the answer before it lets something happen:
// onMessageAdd, as opposed to onMessageAdded. An answer of 4xx would forbid it.
func (e Event) PreAction() bool { return e.Type != "" && !strings.HasSuffix(e.Type, "ed") }

// OfMessage reports whether an event of Conversations has something of a message in it, understood
// or not.
func (e Event) OfMessage() bool {
	return strings.HasPrefix(e.Type, "onMessage") || e.Type == deliveryUpdated
}

// FromCustomer reports whether a message was written from outside, and not by the application or
// its people. What comes by the SDK or the API is the application's, whatever author it names.
func (e Event) FromCustomer() bool {
	if e.Type == "" {
		return true
	}
	switch strings.ToUpper(e.Params.Get("Source")) {
	case "SDK", "API":
		return false
	}
	return e.From != ""
}

// clean gives the parameters with U+FFFD for NUL and for what is no UTF-8.
func (p Params) clean() Params {
	dirty := func(text string) bool { return strings.ContainsRune(text, 0) || !utf8.ValidString(text) }
	for i, param := range p {
		if !dirty(param.Name) && !dirty(param.Value) {
			continue
		}
		cleaned := append(Params{}, p...)
		for j := i; j < len(cleaned); j++ {
			cleaned[j] = Param{clean(cleaned[j].Name), clean(cleaned[j].Value)}
		}
		return cleaned
	}
	return p
}

func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
