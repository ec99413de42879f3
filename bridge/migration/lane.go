package migration

import (
	"slices"
	"strings"
)

// LaneFunction is the function by which the service role asks for a Lane over the REST API. Its
// arguments are schema and tables.
const LaneFunction = "supabridge_lane"

// Guards of a Lane.
const (
	GuardOK      = "ok"
	GuardMissing = "missing"
	GuardAltered = "altered"
)

// Lane is what the database says of the fast lane.
//
// Whoever may broadcast on the lane's channel could forge changes, and whoever hears it sees every
// row. Two things keep others out, each by itself: a restrictive policy, the guard, and a name that
// can't be guessed. An application may drop the guard at any time, so the bridge asks for it again
// and again; the name protects what happens between two questions.
type Lane struct {
	// Topic is the name of the channel, without "realtime:". It is a secret.
	Topic string `json:"topic"`
	// Guard reports whether the policy is as the migration made it: GuardOK, GuardMissing or
	// GuardAltered.
	Guard string `json:"guard"`
	// Tables are those of the tables asked for whose trigger is as the migration made it.
	Tables []string `json:"tables"`
}

// maxTopic bounds the name of a channel, in bytes, with Realtime's prefix.
const maxTopic = 255 - len("realtime:")

// Unguarded says why nothing that comes by the lane may be believed; "" where it may.
func (l Lane) Unguarded() string {
	switch {
	case l.Guard == GuardMissing:
		return "the policy supabridge_service_role_only on realtime.messages is gone, or row level security is off there"
	case l.Guard == GuardAltered:
		return "the policy supabridge_service_role_only on realtime.messages is not as supabridge made it"
	case l.Guard != GuardOK, !strings.HasPrefix(l.Topic, Topic), len(l.Topic) > maxTopic:
		return "the answer of the function " + LaneFunction + " can't be read"
	}
	return ""
}

// Without gives those of tables whose changes the lane does not bring.
func (l Lane) Without(tables []string) []string {
	var missing []string
	for _, table := range tables {
		if !slices.Contains(l.Tables, table) {
			missing = append(missing, table)
		}
	}
	return missing
}
