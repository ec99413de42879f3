package engineio

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Error is why a request was refused. Clients get it as JSON and find it in the context of their
// connect_error.
type Error struct {
	// Code is the number the protocol's reference server gives it.
	Code    int    `json:"code"`
	Message string `json:"message"`
	// Detail says more, for logs; it isn't sent.
	Detail string `json:"-"`

	status int
	cause  error
}

// ErrOrigin is the cause of an [Error] of a page whose origin may not connect; see [CORS]. Test
// with errors.Is.
var ErrOrigin = errors.New("origin not allowed")

// Unwrap gives the cause, if there is one to be told apart.
func (e *Error) Unwrap() error { return e.cause }

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("request refused: %s (code %d)", e.Message, e.Code)
	}
	return fmt.Sprintf("request refused: %s (code %d): %s", e.Message, e.Code, e.Detail)
}

// The codes of [Error].
const (
	CodeUnknownTransport   = 0
	CodeUnknownSID         = 1
	CodeBadHandshakeMethod = 2
	CodeBadRequest         = 3
	CodeForbidden          = 4
	CodeUnsupportedVersion = 5
)

// refusal makes the Error of a code.
func refusal(code int, detail string) *Error {
	e := &Error{Code: code, Detail: detail, status: http.StatusBadRequest}
	switch code {
	case CodeUnknownTransport:
		e.Message = "Transport unknown"
	case CodeUnknownSID:
		e.Message = "Session ID unknown"
	case CodeBadHandshakeMethod:
		e.Message = "Bad handshake method"
	case CodeForbidden:
		e.Message, e.status = "Forbidden", http.StatusForbidden
	case CodeUnsupportedVersion:
		e.Message = "Unsupported protocol version"
	default:
		e.Message = "Bad request"
	}
	return e
}

// refuse answers a request with e.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, e *Error) {
	s.refused(r, e)
	b, err := json.Marshal(e)
	if err != nil { // two plain fields always marshal
		b = []byte("{}")
	}
	s.addHeaders(w.Header(), r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_, _ = w.Write(b) // a client that has gone needs no answer
}

// refused tells of a refusal.
func (s *Server) refused(r *http.Request, e *Error) {
	if s.opts.Refused != nil {
		s.opts.Refused(r, e)
	}
}

// Errors of [Conn.Send].
var (
	// ErrClosed means that the connection is closed or closing.
	ErrClosed = errors.New("connection closed")
	// ErrGoingAway is handed to [Handler.Closed] where the client said that its page is closed,
	// left or loaded anew, which is more than that its connection has ended.
	ErrGoingAway = errors.New("client is going away")
	// ErrQueueFull means that the client did not take what was sent before; the connection has been
	// closed for it.
	ErrQueueFull = errors.New("queue full")
	// ErrQueuesFull means that too much waited for all clients together, and most of it for this
	// one.
	ErrQueuesFull = errors.New("all queues together are full")
)

// The reasons for which a connection ends, as handed to [Handler.Closed]. Except for the last three
// they are the protocol's own.
const (
	ReasonPingTimeout    = "ping timeout"
	ReasonTransportClose = "transport close"
	ReasonTransportError = "transport error"
	ReasonParseError     = "parse error"
	ReasonForcedClose    = "forced close"
	ReasonQueueFull      = "queue full"
	ReasonFlood          = "too many packets"
	ReasonPartial        = "incomplete message"
)
