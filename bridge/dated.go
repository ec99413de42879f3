package bridge

import "time"

// clockSkew is how far the clocks of this machine and of the database may be apart.
const clockSkew = 5 * time.Second

// notBefore reports whether a state of a row is the other state or a later one, as far as their
// times tell. A time ahead of the clock tells nothing of order: the next change of the row brings
// it back.
func notBefore(state, other time.Time) bool {
	return state.Equal(other) || state.After(other) && time.Until(state) <= clockSkew
}
