package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// The kinds of what is told to the application.
const (
	userOnline   = "user_online"
	userOffline  = "user_offline"
	roomOccupied = "room_occupied"
	roomVacated  = "room_vacated"
	messagesRead = "messages_read"
)

// Bounds of reports.
const (
	maxReports = 4096            // not on disk yet; more are dropped, and that is logged
	roomsEvery = time.Second     // how often rooms are looked over
	roomsKept  = 5 * time.Second // how long, beyond two leases, their changes are kept for the case that this node comes to tell of them
)

// report is what the application is told, as it is posted.
type report struct {
	ID   string          `json:"id"` // the same when it is sent again
	Type string          `json:"type"`
	At   time.Time       `json:"at"`
	Data json.RawMessage `json:"data"`

	lane string
}

// reporter takes what happens to the outbox. Those to whom it happens hand it over and go on: queue is all they touch. Its goroutine owns what is below it.
type reporter struct {
	b       *Bridge
	events  []string
	box     *outbox.Outbox
	dropped sync.Once
	queue   chan report

	occupied map[string]bool // at any node
	changes  []roomChange    // that another node is to tell, of late
	speaks   bool            // this node told the last ones
}

// roomChange is that a room came to be occupied, or vacated.
type roomChange struct {
	kind, room string
	at         time.Time
}

func newReporter(b *Bridge, c config.Outgoing, box *outbox.Outbox) *reporter {
	return &reporter{b: b, events: c.Events, box: box, queue: make(chan report, maxReports), occupied: make(map[string]bool)}
}

// tell hands an event over, and never waits. A nil reporter tells nobody.
func (r *reporter) tell(kind, lane string, data json.RawMessage) {
	if r == nil || !slices.Contains(r.events, kind) {
		return
	}
	select {
	case r.queue <- report{ID: uuid.NewString(), Type: kind, At: time.Now().UTC(), Data: data, lane: lane}:
	default:
		r.dropped.Do(func() {
			r.b.log.Error().Msg("webhooks to the application are dropped: they come faster than the disk takes them")
		})
	}
}

// run puts events on disk and looks rooms over until ctx ends.
func (r *reporter) run(ctx context.Context) {
	rooms := time.NewTicker(roomsEvery)
	defer rooms.Stop()
	if !r.watchesRooms() {
		rooms.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-r.queue:
			r.keep(ctx, e)
		case <-rooms.C:
			r.look()
		}
	}
}

// keep puts one event on disk.
func (r *reporter) keep(ctx context.Context, e report) {
	body, err := json.Marshal(e)
	if err == nil {
		_, err = r.box.Add(ctx, "", outbox.Entry{Target: toReporter, Lane: e.lane, Body: body})
	}
	if err != nil && ctx.Err() == nil {
		r.b.log.Error().Err(err).Str("type", e.Type).Msg("a webhook to the application could not be kept")
	}
}

// watchesRooms tells whether the application is told of rooms.
func (r *reporter) watchesRooms() bool {
	return r != nil && (slices.Contains(r.events, roomOccupied) || slices.Contains(r.events, roomVacated))
}

// look tells which rooms of conversations and tenants came and went since the last time, at all nodes together.
func (r *reporter) look() {
	now := make(map[string]bool)
	for _, space := range r.b.spaces {
		for room := range space.Rooms() {
			if isRoom(r.b.cfg().Rooms.Conversation, room) || isRoom(r.b.cfg().Rooms.Tenant, room) {
				now[room] = true
			}
		}
	}
	if r.b.cluster != nil {
		r.b.cluster.tellRooms(now)
		now = maps.Clone(now)
		r.b.cluster.roomsElsewhere(func(room string) { now[room] = true })
	}
	at := time.Now()
	for room := range now {
		if !r.occupied[room] {
			r.changes = append(r.changes, roomChange{roomOccupied, room, at})
		}
	}
	for room := range r.occupied {
		if !now[room] {
			r.changes = append(r.changes, roomChange{roomVacated, room, at})
		}
	}
	r.occupied = now
	r.tellChanges(at)
}

// tellChanges tells the application what has changed, if this node is the one that does. One that has just become it begins where the one before may have
// ended, and of each room tells the last: so that in this moment something may be told twice, rather than not.
func (r *reporter) tellChanges(now time.Time) {
	c := r.b.cluster
	if !c.speaks() {
		r.speaks = false
		keep := now.Add(-2*c.lease - roomsKept) // another takes its place within less
		r.changes = slices.DeleteFunc(r.changes, func(change roomChange) bool { return change.at.Before(keep) })
		r.changes = r.changes[max(0, len(r.changes)-maxReports):]
		return
	}
	if !r.speaks {
		since := c.lastLed().Add(-roomsEvery)
		last := make(map[string]time.Time)
		for _, change := range r.changes {
			last[change.room] = change.at
		}
		r.changes = slices.DeleteFunc(r.changes, func(change roomChange) bool { return change.at.Before(since) || change.at != last[change.room] })
	}
	for _, change := range r.changes {
		r.tell(change.kind, change.room, object("room", change.room))
	}
	r.changes, r.speaks = nil, true
}

// isRoom tells whether a name is one that the template makes.
func isRoom(kind config.Room, name string) bool {
	_, ok := roomID(kind, name)
	return ok
}

// reported gives the kind under which the application is told of an event that browsers get; "" for the others.
func reported(event vocabulary.Event) string {
	if event == vocabulary.MessagesRead {
		return messagesRead
	}
	return ""
}

// deliverReport posts an event to the application, signed.
func (b *Bridge) deliverReport(client *http.Client) outbox.Deliver {
	c := b.cfg().Webhooks.Outgoing
	return func(ctx context.Context, item outbox.Item) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(item.Body))
		if err != nil {
			return outbox.Permanent(errors.New("outgoing: the address can't be made"))
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(publish.SignatureHeader, publish.Sign([]byte(c.Secret.Reveal()), time.Now(), item.Body))
		return post(client, req, "outgoing")
	}
}
