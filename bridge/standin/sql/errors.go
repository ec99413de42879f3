package sql

import "fmt"

// Error is an error with the parts that Postgres gives one. Code is a SQLSTATE (23505), or in
// REST's answers one of PostgREST's own (PGRST116). Callers decide by Code.
type Error struct {
	Code    string
	Message string
	// Details and Hint may be empty; they are null in REST's answer then.
	Details string
	Hint    string
}

// Error gives the code and the message. Details, which may quote values of rows, are not in it.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

func invalidSyntax(typ *Type, text string) *Error {
	return &Error{Code: "22P02", Message: fmt.Sprintf("invalid input syntax for type %s: %s", typ.long(), Quote(text))}
}

func outOfRange(typ *Type, text string) *Error {
	return &Error{Code: "22003", Message: fmt.Sprintf("value %s is out of range for type %s", Quote(text), typ.long())}
}

// Quote puts a value into double quotes for a message, cut to 200 bytes.
func Quote(text string) string {
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return `"` + text + `"`
}
