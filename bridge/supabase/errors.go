package supabase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Class says what a caller can do about an Error.
type Class uint8

const (
	// ClassRetry means that the same request may succeed later (network, 408, 5xx, a statement
	// timeout, a serialization failure).
	ClassRetry Class = iota
	// ClassSlow means that Supabase was asked too often (429); wait for RetryAfter, or half a minute
	// where it is 0.
	ClassSlow
	// ClassToken means that the credential was refused (401); only another one helps.
	ClassToken
	// ClassDenied means that the credential is good and may not do this (403, 42501).
	ClassDenied
	// ClassPermanent means that the request itself is wrong, such as a table or column that doesn't
	// exist; it fails until the schema or the configuration changes.
	ClassPermanent
)

func (c Class) String() string {
	return [...]string{"retry", "slow", "token", "denied", "permanent"}[c]
}

// codeInvalidText is SQLSTATE invalid_text_representation: the value can't be of the column's type.
const codeInvalidText = "22P02"

// notOfType reports whether a request failed since a value can't be of the column's type: its text
// isn't, it is out of the type's range, or it holds a NUL.
func notOfType(err error) bool {
	e, ok := AsError(err)
	return ok &&
		(e.Code == codeInvalidText || e.Code == "22003" || e.Code == "22007" || e.Code == "22008" || e.Code == "22021")
}

// ErrTooLong is in the chain of the *Error of an answer longer than Options.MaxResponse: asking for
// fewer rows helps.
var ErrTooLong = errors.New("the answer is too long")

// Error is a failed request. Status is the HTTP status, 0 where no answer came. Code is PostgREST's
// code or PostgreSQL's SQLSTATE, empty where the answer was not in PostgREST's shape (a gateway's
// HTML, say). Hint and Details are PostgREST's; they may quote row values and stay out of Error().
type Error struct {
	Status     int
	Code       string
	Message    string
	Details    string
	Hint       string
	RetryAfter time.Duration
	Class      Class

	err error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Status != 0 {
		fmt.Fprintf(&b, " (HTTP %d", e.Status)
		if e.Code != "" {
			b.WriteString(", " + e.Code)
		}
		b.WriteByte(')')
	}
	if e.err != nil {
		b.WriteString(": " + e.err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.err }

// AsError finds the *Error in err's chain.
func AsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// classify gives every failure of a request its type. The fence has typed those that an answer
// caused; what is left is the context's end.
func classify(err error) error {
	if e, ok := AsError(err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &Error{Message: "no answer in time", Class: ClassRetry, err: err}
	}
	return &Error{Message: "request", Class: ClassPermanent, err: err}
}

// newError reads an answer that is not a success.
func newError(resp *http.Response, body []byte) *Error {
	e := &Error{Status: resp.StatusCode}
	var answer struct{ Code, Message, Details, Hint string }
	if json.Unmarshal(body, &answer) == nil {
		e.Code, e.Message, e.Details, e.Hint = answer.Code, answer.Message, answer.Details, answer.Hint
	}
	if e.Message == "" {
		e.Message = strings.ToLower(http.StatusText(resp.StatusCode))
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		e.Message = "a redirect, which is not followed since it would carry credentials along"
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	e.Class = classOf(e.Status, e.Code)
	return e
}

func classOf(status int, code string) Class {
	switch code {
	case "57014", "40001", "40P01", "PGRST000", "PGRST001", "PGRST002", "PGRST003":
		return ClassRetry
	case "42501":
		return ClassDenied
	}
	switch {
	case status == http.StatusTooManyRequests:
		return ClassSlow
	case status == http.StatusUnauthorized:
		return ClassToken
	case status == http.StatusForbidden:
		return ClassDenied
	case status >= 500, status == http.StatusRequestTimeout:
		return ClassRetry
	default:
		return ClassPermanent
	}
}
