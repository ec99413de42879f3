package twilio

import "strings"

// ranks order the statuses that a message goes through. Callbacks come in any order and carry no
// time, so this order is all there is.
var ranks = map[string]int{
	"accepted": 0, "scheduled": 0, "queued": 1, "sending": 2, "sent": 3, "delivered": 4, "read": 5,
	"failed": terminal, "undelivered": terminal, "canceled": terminal,
}

// terminal marks the ends that are no success: they come after everything below delivered and
// nothing comes after them.
const terminal = -1

// Known tells whether Twilio has such a status.
func Known(status string) bool {
	_, ok := ranks[strings.ToLower(status)]
	return ok
}

// Failed tells whether a status is an end that is no success.
func Failed(status string) bool {
	rank, ok := ranks[strings.ToLower(status)]
	return ok && rank == terminal
}

// Supersedes tells whether a message in status before takes status now: upwards only, and never out
// of an end. A status not known, such as none, is superseded by any that is; one not known
// supersedes nothing. Case does not count.
func Supersedes(now, before string) bool {
	to, ok := ranks[strings.ToLower(now)]
	if !ok {
		return false
	}
	from, ok := ranks[strings.ToLower(before)]
	switch {
	case !ok:
		return true
	case from == terminal:
		return false
	case to == terminal:
		return from < ranks["delivered"]
	default:
		return to > from
	}
}
