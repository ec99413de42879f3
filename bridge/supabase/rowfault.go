package supabase

import "strings"

// ofRow are the SQLSTATEs, beside class 22, that blame the row itself: sent again as it is, it
// fails again.
var ofRow = map[string]bool{
	"23502": true, // not null: a column of the row has no value
	"23505": true, // unique: another row has the value; Insert leaves rows with the same unique column alone
	"23514": true, // check
	"23P01": true, // exclusion: another row is in the way
	"44000": true, // the view's check option
	"54000": true, // a limit of the program: a value too long for its index
	"P0001": true, // raise exception: the application's own function refuses it
}

// RowFault reports whether an answer of PostgreSQL blames the row that was written, so that sending
// it again can't help. It is false for whatever may pass without a change of the row: a column or
// table that doesn't exist (42xxx, PGRST2xx; a migration brings it), a missing row that is referred
// to (23503; it may be written later), a right that is missing (42501), a deadlock, a timeout, and
// every answer that isn't PostgreSQL's, such as a gateway's.
//
// Of class 22, data exceptions, 22023 is left out: PostgREST gives it for a role that doesn't
// exist.
func (e *Error) RowFault() bool {
	return ofRow[e.Code] || len(e.Code) == 5 && strings.HasPrefix(e.Code, "22") && e.Code != "22023"
}

// passing are SQLSTATEs by which PostgreSQL answers for one statement, and not for the state of the
// whole project.
var passing = map[string]bool{
	"23503": true, // foreign key: the row referred to isn't there yet
	"40001": true, // serialization failure
	"40P01": true, // deadlock
	"55P03": true, // a lock could not be had
	"57014": true, // the statement took too long
}

// OneStatement reports whether a failure that may pass concerns this statement alone: others may
// succeed meanwhile.
func (e *Error) OneStatement() bool { return passing[e.Code] }
