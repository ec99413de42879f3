package phoenix

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Class says what helps against an error, and so how soon the client tries again.
type Class uint8

const (
	// Retry is an ordinary failure: try again with back-off.
	Retry Class = iota
	// Slow is a quota: try again after half a minute or more.
	Slow
	// Token needs a fresh token first.
	Token
	// Permanent needs a change of configuration or policy; it is probed every few
	// minutes only.
	Permanent
	// OtherSocket is a quota of this connection: use another one, or fewer channels.
	OtherSocket
)

func (c Class) String() string {
	switch c {
	case Retry:
		return "retry"
	case Slow:
		return "slow"
	case Token:
		return "token"
	case Permanent:
		return "permanent"
	case OtherSocket:
		return "other socket"
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Operations an Error can come from.
const (
	OpConnect   = "connect"   // the WebSocket handshake
	OpLink      = "link"      // an established connection that ended
	OpToken     = "token"     // the channel's token source
	OpJoin      = "join"      // a phx_join
	OpChannel   = "channel"   // a channel the server closed
	OpSubscribe = "subscribe" // the change feed behind a joined channel
	OpPush      = "push"      // a message sent on a channel
	OpRequest   = "request"   // a REST call
)

// Error is a failure as the server, the network or a token source told it.
type Error struct {
	Op     string // one of the Op constants
	Topic  string // the wire topic; empty when it concerns the whole connection
	Status int    // HTTP status (OpConnect, OpRequest) or WebSocket close code (OpLink); 0 otherwise
	Code   string // the server's error code, such as "InvalidJWTToken"; often empty
	Reason string // the server's text without the code
	Class  Class
	// RetryAfter is how long the server asked to be left alone at a refused handshake. The
	// client waits that long, at most Backoff.Max.
	RetryAfter time.Duration
	Err        error // the cause, if there is one underneath
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("realtime ")
	b.WriteString(e.Op)
	if e.Topic != "" {
		b.WriteByte(' ')
		b.WriteString(e.Topic)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": status %d", e.Status)
	}
	if e.Code != "" {
		b.WriteString(": ")
		b.WriteString(e.Code)
	}
	if e.Reason != "" {
		b.WriteString(": ")
		b.WriteString(e.Reason)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// ClassOf is the class of the Error in err's chain, Retry when there is none.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Retry
}

// Errors of the client itself. Test with errors.Is.
var (
	// ErrClosed: the client or the channel was closed.
	ErrClosed = errors.New("realtime: closed")
	// ErrTopicInUse: the client already has a channel of this topic that the new one
	// can't share. One topic is one subscription on the server; joining it twice would
	// close the first.
	ErrTopicInUse = errors.New("realtime: topic already has a channel on this client")
	// ErrTooManyChannels: Options.MaxChannels is reached.
	ErrTooManyChannels = errors.New("realtime: too many channels on this client")
	// ErrNotJoined: the channel is not joined, so nothing can be sent on it now.
	ErrNotJoined = errors.New("realtime: channel not joined")
	// ErrQueueFull: too many messages are waiting to be sent.
	ErrQueueFull = errors.New("realtime: send queue full")
	// ErrDisconnected: the connection ended before the answer; the message may or
	// may not have arrived.
	ErrDisconnected = errors.New("realtime: disconnected before the answer")
	// ErrOverflow: the channel was closed since its consumer fell behind (OverflowFail).
	ErrOverflow = errors.New("realtime: consumer too slow")
	// ErrPayloadTooLarge: the server refused a message for its size.
	ErrPayloadTooLarge = errors.New("realtime: payload too large")
	// ErrNoAck: SendAck needs BroadcastOptions.Ack.
	ErrNoAck = errors.New("realtime: channel was not set up for acknowledged broadcasts")
	// ErrBinaryUnsupported: binary payloads need V2, and an event name of at most 255 bytes.
	ErrBinaryUnsupported = errors.New("realtime: binary payload can't be sent")
	// ErrTokenExpired: the token source returned a token that is expired or about to.
	ErrTokenExpired = errors.New("realtime: token source returned an expired token")
	// ErrOpaqueToken: the token source returned an API key of the kind sb_…, which is no
	// token. The server would ignore it and join with the rights of the client's own key.
	ErrOpaqueToken = errors.New("realtime: token source returned an sb_ key instead of a JWT")
	// ErrNoToken: the token source returned an empty token. The client doesn't fall
	// back to the API key, which might see more than the user whose token was meant.
	ErrNoToken = errors.New("realtime: token source returned no token")
)

// CodePrivateOnly is the Error.Code of a join that was refused since the project allows
// private channels only: join with ChannelOptions.Private.
const CodePrivateOnly = "PrivateOnly"

// joinClasses maps the code of a join error's reason to its class (the text before
// the first colon). Anything not listed is Retry.
var joinClasses = map[string]Class{
	codeExpired:                          Token,
	"MalformedJWT":                       Token,
	"JwtSignatureError":                  Token,
	"JwtSignerError":                     Token,
	"Unauthorized":                       Permanent,
	CodePrivateOnly:                      Permanent,
	"TopicNameRequired":                  Permanent,
	"RealtimeDisabledForTenant":          Permanent,
	"TenantNotFound":                     Permanent,
	"ChannelRateLimitReached":            OtherSocket,
	"ConnectionRateLimitReached":         Slow,
	"ClientJoinRateLimitReached":         Slow,
	"IncreaseConnectionPool":             Slow,
	"DatabaseLackOfConnections":          Slow,
	"DatabaseConnectionRateLimitReached": Slow,
}

const (
	reasonUnmatched  = "unmatched topic"
	reasonTooLarge   = "payload_size_exceeded"
	codeRestarting   = "RealtimeRestarting"
	codeExpired      = "InvalidJWTToken" // also where a claim is missing
	codeReplay       = "UnableToReplayMessages"
	reasonJoinedMany = "too many channels joined"
)

// joinError reads the reason of a refused join.
func joinError(topic, reason string) *Error {
	e := &Error{Op: OpJoin, Topic: topic}
	e.Code, e.Reason = splitCode(reason)
	switch {
	case e.Code == codeReplay:
		e.Class = Permanent
		if strings.HasPrefix(e.Reason, "Realtime was unable") {
			e.Class = Retry
		}
	case e.Code != "":
		e.Class = joinClasses[e.Code]
	case e.Reason == reasonUnmatched:
		e.Class = Permanent
	case e.Reason == reasonJoinedMany:
		e.Class = OtherSocket
	}
	return e
}

// splitCode parts "Code: text". A code is one word without spaces.
func splitCode(reason string) (code, text string) {
	if head, tail, ok := strings.Cut(reason, ":"); ok && head != "" && !strings.ContainsAny(head, " `\"") {
		return head, strings.TrimSpace(tail)
	}
	return "", reason
}

// systemClass is the class of a system error that closes the channel.
func systemClass(message string) Class {
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(message, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("Token has expired", "`role` and `exp`", "not a valid JWT", "signature", "signer", "Token expiration time"):
		return Token
	case has("permissions to read", "permission to read"), message == "Track message size exceeded":
		return Permanent
	case has("Too many messages per second", "Too many presence messages per second",
		"Client presence rate limit exceeded"):
		return Slow
	}
	return Retry
}

// feedClass is the class of a system error of the change feed. Parameter problems
// are permanent: the server doesn't try again.
func feedClass(message string) Class {
	for _, p := range []string{"Unable to subscribe to changes with given parameters", "Error parsing", "No subscription params provided", "does not exist", "An exception happened"} {
		if strings.Contains(message, p) {
			return Permanent
		}
	}
	return Retry
}

// handshakeClass is the class of an HTTP answer to the WebSocket handshake.
func handshakeClass(status int) Class {
	switch {
	case status == 401 || status == 403 || status == 404:
		return Permanent // 401 concerns the API key, of which the client has but one
	case status == 429:
		return Slow
	case status >= 400 && status < 500:
		return Slow
	}
	return Retry
}

// linkError is the error of a connection that ended by err.
func linkError(err error) *Error {
	e := &Error{Op: OpLink, Err: err}
	var ce *websocket.CloseError
	if errors.As(err, &ce) {
		e.Status, e.Reason, e.Err = ce.Code, ce.Text, nil
		switch ce.Code {
		case websocket.CloseGoingAway,
			websocket.CloseProtocolError,
			websocket.CloseInvalidFramePayloadData,
			websocket.CloseMessageTooBig:
			e.Class = Slow
		case websocket.CloseAbnormalClosure:
			e.Status, e.Reason, e.Err = 0, "", err
		}
	}
	return e
}
