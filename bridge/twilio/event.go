package twilio

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Bounds of a form. Twilio's own are far smaller.
const (
	MaxParams = 1000
	maxMedia  = 32
)

// ErrForm means that the body is not a form.
var ErrForm = errors.New("twilio: the body is not a form")

// Param is one parameter of a form.
type Param struct{ Name, Value string }

// Params are the parameters of a form in the order they came; a name may come more than once.
type Params []Param

// ParseForm takes a form apart; a query of the same kind too. It fails, with ErrForm, on a wrong
// escape and on more than MaxParams parameters.
func ParseForm(body []byte) (Params, error) {
	var params Params
	for part := range strings.SplitSeq(string(body), "&") {
		if part == "" {
			continue
		}
		if len(params) == MaxParams {
			return nil, fmt.Errorf("%w: more than %d parameters", ErrForm, MaxParams)
		}
		name, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, fmt.Errorf("%w: a name has a wrong escape", ErrForm)
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, fmt.Errorf("%w: a value has a wrong escape", ErrForm)
		}
		params = append(params, Param{name, value})
	}
	return params, nil
}

// Get gives the first value of a name, "" where it did not come.
func (p Params) Get(name string) string {
	for _, param := range p {
		if param.Name == name {
			return param.Value
		}
	}
	return ""
}

// Has tells whether a name came, be it with an empty value.
func (p Params) Has(name string) bool {
	for _, param := range p {
		if param.Name == name {
			return true
		}
	}
	return false
}

// Kind is what a webhook tells.
type Kind uint8

// The kinds.
const (
	// Other is neither a message nor a status of one.
	Other Kind = iota
	// Message is one that came in.
	Message
	// Status is news of one that went out.
	Status
)

func (k Kind) String() string { return [...]string{"other", "message", "status"}[k] }

// Event is a webhook that was understood. Params has everything that came, what Twilio adds
// tomorrow included. Texts are valid UTF-8 without NUL, which PostgreSQL can't hold: U+FFFD stands
// for whatever else came.
type Event struct {
	Kind      Kind
	Type      string // of an event of Twilio Conversations, such as onMessageAdded; else ""
	Sid       string // of the message
	Status    string // of a Status, as Twilio writes it
	ErrorCode string
	From, To  string
	Body      string // may be empty: a photo without a caption is a message
	Media     []Media
	Params    Params
}

// Media is something attached to a message. Its URL asks for the account's credentials: no browser
// can load it, and no log should have it.
type Media struct {
	URL         string `json:"url"`
	ContentType string `json:"content_type"`
}

// Read understands parameters. It never fails: what it does not know is Other.
func Read(p Params) Event {
	p = p.clean()
	e := Event{
		Status: p.Get(
			"MessageStatus",
		), ErrorCode: p.Get("ErrorCode"), From: p.Get("From"), To: p.Get("To"), Body: p.Get("Body"), Params: p,
	}
	for _, name := range []string{"MessageSid", "SmsMessageSid", "SmsSid"} {
		if e.Sid = p.Get(name); e.Sid != "" {
			break
		}
	}
	if strings.HasPrefix(p.Get("EventType"), "on") { // that of a WhatsApp status is READ, DELIVERED and the like
		e.readConversation()
		return e
	}
	count, err := strconv.Atoi(p.Get("NumMedia"))
	if err != nil {
		count = 0
	}
	for i := range min(count, maxMedia) {
		n := strconv.Itoa(i)
		if address := p.Get("MediaUrl" + n); address != "" {
			e.Media = append(e.Media, Media{address, p.Get("MediaContentType" + n)})
		}
	}
	switch sms := p.Get("SmsStatus"); {
	case e.Sid == "":
	case e.Status != "" && e.Status != "received" && e.Status != "receiving":
		e.Kind = Status
	case sms == "received", sms == "receiving", p.Has("Body"), p.Has("NumMedia"):
		e.Kind = Message
	case sms != "": // callbacks of old accounts
		e.Kind, e.Status = Status, sms
	}
	return e
}

// Conversation names the pair of addresses that a message goes between, the same for both
// directions; of an event of Twilio Conversations, its conversation.
func (e Event) Conversation() string {
	if e.Type != "" {
		return "conversation:" + e.Params.Get("ConversationSid")
	}
	a, b := e.From, e.To
	if a > b {
		a, b = b, a
	}
	return a + "|" + b
}

// DedupeKey names a webhook, so that its repetitions are recognised: by the idempotency token where
// there is one, else by the message, its status and its error, else by the hash of the body.
func (e Event) DedupeKey(idempotency string, body []byte) string {
	switch {
	case idempotency != "":
		return "token:" + idempotency
	case e.Kind != Other && e.Type != "":
		return "event:" + e.Type + "|" + e.Sid + "|" + e.Status + "|" + e.ErrorCode + "|" + e.Params.Get("ParticipantSid")
	case e.Kind != Other:
		return "event:" + e.Sid + "|" + e.Status + "|" + e.ErrorCode
	}
	sum := sha256.Sum256(body)
	return "body:" + hex.EncodeToString(sum[:])
}
