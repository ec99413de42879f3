package access

import (
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
)

// Session is a user's connection as the Rechecker sees it. It is a key of maps, so two values are
// equal where they are the same session. Its methods are called from several goroutines.
type Session interface {
	// Identity is who the session belongs to now.
	Identity() *auth.Identity

	// Rooms lists the rooms of a kind that the session is in, as stored. Where among is not nil, it
	// lists only those that among holds.
	Rooms(kind RoomKind, among map[string]struct{}) []string

	// ClaimedTenant is a tenant that the session's token claims, and that the rules have not let it
	// in yet; empty where there is none. It is asked about with the rooms.
	ClaimedTenant() string

	// OpenTenant tells the session that the rules let it into the tenant it claims, and how that is
	// stored. It does nothing where the session claims another one by now, or is in already.
	OpenTenant(claimed, stored string)

	// Current gives the sessions that stand in this one's place: itself, unless its connection was
	// lost and others have taken over.
	Current() []Session

	// Evict takes the session, or those that have taken over, out of a room. It reports whether the
	// session was there.
	Evict(room Room, reason string) bool

	// Checked is the Rechecker's note on the session. It is always the same.
	Checked() *Checked
}

// Checked is when a session's rights were asked about last. It stands in the session, so that one
// that takes over from another goes on with its time. The zero value is ready for use.
type Checked struct{ at time.Time } // guarded by the Rechecker's mu
