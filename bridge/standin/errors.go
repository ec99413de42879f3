package standin

import (
	"fmt"
	"net/http"
	"strings"
)

// Error is an error in the shape of PostgREST's answers. Code is a Postgres SQLSTATE (23505) or one of PostgREST's own
// (PGRST116). Callers decide by Code.
type Error struct {
	Code    string
	Message string
	// Details and Hint may be empty; they are null in the answer then.
	Details string
	Hint    string

	status int // HTTP status; 0 leaves it to the code
}

// Error gives the code and the message. Details, which may quote values of rows, are not in it.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// statusOf is the HTTP status PostgREST gives an error of Postgres. anonymous is whether the role is anon, which is told
// to authenticate where another role is told that it may not.
func (e *Error) statusOf(anonymous bool) int {
	if e.status != 0 {
		return e.status
	}
	switch e.Code {
	case "23503", "23505":
		return http.StatusConflict
	case "42501":
		if anonymous {
			return http.StatusUnauthorized
		}
		return http.StatusForbidden
	case "42883", "42P01":
		return http.StatusNotFound
	case "21000":
		if !strings.HasSuffix(e.Message, "requires a WHERE clause") {
			return http.StatusInternalServerError
		}
	}
	if len(e.Code) == 5 {
		switch e.Code[:2] {
		case "53":
			return http.StatusServiceUnavailable
		case "54", "55", "XX":
			return http.StatusInternalServerError
		}
	}
	return http.StatusBadRequest
}

func invalidSyntax(typ *columnType, text string) *Error {
	return &Error{Code: "22P02", Message: fmt.Sprintf("invalid input syntax for type %s: %s", typ.long(), quoteShort(text))}
}

func outOfRange(typ *columnType, text string) *Error {
	return &Error{Code: "22003", Message: fmt.Sprintf("value %s is out of range for type %s", quoteShort(text), typ.long())}
}

// quoteShort puts a value into double quotes for a message, cut to 200 bytes.
func quoteShort(text string) string {
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return `"` + text + `"`
}
