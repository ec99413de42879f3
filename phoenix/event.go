package phoenix

import (
	"encoding/json"
	"time"
)

// Event is what a channel delivers, one of the pointer types of this file. Events
// come in the order things happened. Consumers may keep events; slices and raw JSON
// in them may be shared with later ones and are read only.
type Event interface{ event() }

// Joined means that the server accepted the join. Broadcast and presence work from here on;
// row changes only from the following Live.
type Joined struct {
	// Again is set on every join after the first.
	Again bool
}

// Live means that everything the channel asked for flows. For a channel with Changes that is
// the server's "Subscribed to PostgreSQL", with ReplicationReady also its
// "Replication connection established"; for others it follows Joined at once.
// Live is delivered again after each Gap, also when the channel never stopped
// being joined.
type Live struct {
	// Since is that of the Gap before: who needs every row reads, now, those since then
	// minus the longest transaction expected. Zero the first time: whatever there is.
	Since time.Time
}

// GapReason tells where a gap comes from.
type GapReason string

const (
	// GapReconnect means that the connection was lost.
	GapReconnect GapReason = "reconnect"
	// GapRejoin means that the channel was closed or crashed on the server, or rejoined by request.
	GapRejoin GapReason = "rejoin"
	// GapResubscribed means that the server said "Subscribed to PostgreSQL" again, after a new
	// token, a changed publication or a restarted feed.
	GapResubscribed GapReason = "resubscribed"
	// GapFeedError means that the server reported an error of the change feed.
	GapFeedError GapReason = "feed error"
	// GapSilence means that no change arrived for ChannelOptions.MaxSilence.
	GapSilence GapReason = "silence"
	// GapOverflow means that the consumer fell behind and events were dropped.
	GapOverflow GapReason = "overflow"
)

// Gap means that events may be missing between Since and the Live that follows. There is none
// before the first Live, where all that came before is missing. Since is the
// last instant, by this machine's clock, at which the stream was known to be whole.
type Gap struct {
	Since  time.Time
	Reason GapReason
	// Lost counts the events dropped here (GapOverflow); what the server never sent
	// can't be counted.
	Lost int
}

// Lost means that the channel is no longer joined, though nobody asked for it. It rejoins by
// itself. Err is an *Error.
type Lost struct{ Err error }

// Retrying means that an attempt to connect or join failed; the next one starts in Delay.
// Err is an *Error.
type Retrying struct {
	Err   error
	Delay time.Duration
}

// SystemError is a failure the server reports on a joined channel. Of Class
// Permanent and extension "postgres_changes" it means that no change will come
// until the bindings or the database change.
type SystemError struct {
	Extension string // "postgres_changes" or "system"
	Message   string
	Class     Class
}

func (e *SystemError) Error() string { return "realtime " + e.Extension + ": " + e.Message }

// Message is an event the package has no type for.
type Message struct {
	Event   string
	Payload json.RawMessage
}

// Closed is the last event of a channel: after it Events is closed. Err is nil
// after Leave and Close, else the reason.
type Closed struct{ Err error }

func (*Joined) event()           {}
func (*Live) event()             {}
func (*Gap) event()              {}
func (*Lost) event()             {}
func (*Retrying) event()         {}
func (*SystemError) event()      {}
func (*Message) event()          {}
func (*Closed) event()           {}
func (*Change) event()           {}
func (*BroadcastMessage) event() {}
func (*PresenceState) event()    {}
func (*PresenceDiff) event()     {}
