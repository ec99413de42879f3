package bridge

import "time"

// clockSkew is how far ahead of the database's clock a time may be, by what is known of that clock,
// without counting as dated ahead.
const clockSkew = 5 * time.Second

// notBefore reports whether a state of a row is the other state or a later one, as far as their
// times tell. A time ahead of the clock tells nothing of order: the next change of the row brings
// it back. now is by the database's clock.
func notBefore(state, other, now time.Time) bool {
	return state.Equal(other) || state.After(other) && state.Sub(now) <= clockSkew
}
