package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/bridge/standin/sql"
	"github.com/supabridge/supabridge/bridge/standin/tokens"
)

// statusError is an error that is answered with a status of its own, not with that of its code.
type statusError struct {
	cause  *sql.Error
	status int
}

func (e *statusError) Error() string { return e.cause.Error() }

// Unwrap gives the error without its status.
func (e *statusError) Unwrap() error { return e.cause }

// refused gives an error a status.
func refused(status int, e *sql.Error) error { return &statusError{e, status} }

// statusOf is the HTTP status PostgREST gives an error of Postgres. anonymous is whether the role
// is anon, which is told to authenticate where another role is told that it may not.
func statusOf(e *sql.Error, anonymous bool) int {
	switch e.Code {
	case "23503", "23505":
		return http.StatusConflict
	case "42501":
		if anonymous {
			return http.StatusUnauthorized
		}
		return http.StatusForbidden
	case "25P02":
		return http.StatusInternalServerError
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

// writeError answers with an error in PostgREST's form.
func writeError(w http.ResponseWriter, r *http.Request, err error, role string) {
	var e *sql.Error
	if !errors.As(err, &e) {
		e = &sql.Error{Code: "XX000", Message: err.Error()}
	}
	status := statusOf(e, role == sql.RoleAnon)
	if own := (*statusError)(nil); errors.As(err, &own) {
		status = own.status
	}
	if status == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	body, _ := json.Marshal(struct { // of texts, which can't fail
		Code    string  `json:"code"`
		Details *string `json:"details"`
		Hint    *string `json:"hint"`
		Message string  `json:"message"`
	}{e.Code, orNull(e.Details), orNull(e.Hint), e.Message})
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	write(w, r, status, body)
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// Refuse is PostgREST's answer to a token it doesn't take.
func (h *Handler) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := &sql.Error{Code: "PGRST301"}
	token, _ := tokens.Bearer(r.Header)
	parts := strings.Count(token, ".") + 1
	switch {
	case errors.Is(err, tokens.ErrTokenExpired):
		e.Code, e.Message = "PGRST303", "JWT expired"
	case errors.Is(err, tokens.ErrTokenFields):
		e.Code, e.Message = "PGRST303", "Parsing claims failed"
	case errors.Is(err, tokens.ErrTokenExpiry):
		e.Code, e.Message = "PGRST303", "The JWT 'exp' claim must be a number"
	case errors.Is(err, tokens.ErrTokenSigner):
		e.Message = "Wrong or unsupported encoding algorithm"
	case errors.Is(err, tokens.ErrTokenSignature):
		e.Message, e.Details = "No suitable key or wrong key type", "None of the keys was able to decode the JWT"
	case token == "":
		e.Message = "Empty JWT is sent in Authorization header"
	case parts != 3:
		e.Message = "Expected 3 parts in JWT; got " + strconv.Itoa(parts)
	default:
		e.Message = "JWT couldn't be decoded"
	}
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+e.Message+`"`)
	writeError(w, r, refused(http.StatusUnauthorized, e), sql.RoleAnon)
}
