package webhook

import (
	"context"
	"encoding/json"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/body"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/config"
)

// Options of Webhooks. All are required, except Nodes.
type Options struct {
	Config         config.Webhooks        // what is taken, sent and kept
	Tables         config.Tables          // of the application
	Schema         string                 // of those tables
	Rows           *supabase.Client       // reads and writes them
	RequestTimeout time.Duration          // of one request of Rows
	Changes        Changes                // takes rows and early messages on to browsers
	Nodes          Nodes                  // of the cluster; nil for a node that is alone
	Occupied       func() map[string]bool // rooms of conversations and tenants with a socket of this node; the caller's
	Bodies         *body.Budget           // of requests whose signature is not checked yet
	Traces         *ops.Traces
	Register       prometheus.Registerer
	Log            zerolog.Logger
}

// Changes is the stream of row changes on its way to browsers.
type Changes interface {
	// Offer brings a row as another source has it, to this node's feed or the leader's.
	Offer(ctx context.Context, table string, action feed.Action, record json.RawMessage) (Outcome, error)
	// Do calls f between two changes and waits for it. It returns ctx's error where f was not
	// called in time.
	Do(ctx context.Context, f func()) error
	// Emit sends the events of a change to its rooms. It is called in Do only.
	Emit(ctx context.Context, c feed.Change)
}

// Nodes is the cluster that this node is one of.
type Nodes interface {
	// Reporter reports whether this node is the one that reports what all nodes know. Two may be
	// for a moment.
	Reporter() bool
	// LastReporter is when another node was last heard to be the reporter.
	LastReporter() time.Time
	// Lease is the time within which another node takes the place of a reporter that is gone.
	Lease() time.Duration
	// ShareRooms informs the other nodes which rooms are occupied here.
	ShareRooms(occupied map[string]bool)
	// RemoteRooms calls f for each room that is occupied at another node.
	RemoteRooms(f func(room string))
}

// alone is a node without others.
type alone struct{}

func (alone) Reporter() bool             { return true }
func (alone) LastReporter() time.Time    { return time.Time{} }
func (alone) Lease() time.Duration       { return 0 }
func (alone) ShareRooms(map[string]bool) {}
func (alone) RemoteRooms(func(string))   {}

// Outcome is what became of a row that was offered.
type Outcome string

// The outcomes.
const (
	Taken    Outcome = "taken"     // the feed passed it on to browsers
	Repeated Outcome = "repeated"  // it is no news to the feed
	HandedOn Outcome = "handed_on" // the leader has it, and decides whether it is news
	NotTaken Outcome = "not_taken" // the feed didn't come to it in time: Realtime or a read brings the row
)
