package bridge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

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
	maxReports     = 100_000         // that are not on disk yet
	maxReportBytes = 64 << 20        // of those
	maxReport      = 2 << 20         // bytes of one
	maxLate        = 20_000          // that another node reports
	reportBatch    = 1000            // reports in one write
	reportRetry    = time.Second     // after the disk did not take them
	flushWait      = 5 * time.Second // for the last of them, when the bridge stops
	maxLane        = 1000            // bytes of a lane's name
	roomsEvery     = time.Second     // how often rooms are looked over
	roomsKept      = 5 * time.Second // how long, beyond two leases, their changes are kept for the case that this node comes to tell of them
	maxRoomChanges = 4096            // that are kept for that
)

// report is what the application is told, as it is posted.
type report struct {
	ID   string          `json:"id"` // the same when it is sent again
	Type string          `json:"type"`
	At   time.Time       `json:"at"`
	Data json.RawMessage `json:"data"`

	lane string
}

// reporter takes what happens to the outbox. Those to whom it happens hand it over and go on: they touch only what mu guards. Its goroutine owns what is below
// wake.
type reporter struct {
	b      *Bridge
	events []string
	box    *outbox.Outbox

	mu      sync.Mutex
	queue   []report // not on disk yet, in their order
	bytes   int      // of their data
	late    []report // which another node reports, or this one if that is gone
	dropped prometheus.Counter
	lines   rate.Sometimes // holds the log lines of what goes wrong

	wake     chan struct{}   // of capacity 1
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
	r := &reporter{b: b, events: c.Events, box: box, wake: make(chan struct{}, 1), occupied: make(map[string]bool)}
	r.lines = rate.Sometimes{First: 3, Interval: logEvery}
	r.dropped = prometheus.NewCounter(prometheus.CounterOpts{Name: "outgoing_dropped_total",
		Help: "Webhooks to the application that were lost, since the outbox took none for too long."})
	b.metrics.register.MustRegister(r.dropped, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "outgoing_pending",
		Help: "Webhooks to the application that are not in the outbox yet."}, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(len(r.queue))
	}))
	return r
}

// tell hands an event over, and never waits. A nil reporter tells nobody.
func (r *reporter) tell(kind, lane string, data json.RawMessage) {
	if r == nil || !slices.Contains(r.events, kind) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(report{ID: uuid.NewString(), Type: kind, At: time.Now().UTC(), Data: data, lane: lane})
}

// share hands over what all nodes know: one of them reports it. The others keep it for a while, in case that node is gone before it has.
func (r *reporter) share(kind, lane string, data json.RawMessage) {
	if r == nil || !slices.Contains(r.events, kind) {
		return
	}
	e := report{ID: uuid.NewString(), Type: kind, At: time.Now().UTC(), Data: data, lane: lane}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.b.cluster.Reporter() && len(r.late) == 0 {
		r.put(e)
		return
	}
	if len(r.late) == maxLate {
		r.late = r.late[1:]
	}
	r.late = append(r.late, e)
}

// takeOver reports what another node may not have reported, once this node speaks, and else forgets what that one has.
func (r *reporter) takeOver(now time.Time) {
	c := r.b.cluster
	speaks, since := c.Reporter(), c.LastReporter().Add(-roomsEvery)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !speaks {
		keep := now.Add(-2*c.Lease() - roomsKept) // another node takes over within less
		r.late = slices.DeleteFunc(r.late, func(e report) bool { return e.At.Before(keep) })
		return
	}
	for _, e := range r.late {
		if !e.At.Before(since) {
			r.put(e)
		}
	}
	r.late = nil
}

// put queues a report. The caller holds mu.
func (r *reporter) put(e report) {
	if len(e.lane) > maxLane { // a client's id may be in it
		sum := sha256.Sum256([]byte(e.lane))
		e.lane = hex.EncodeToString(sum[:])
	}
	if len(e.Data) > maxReport || len(r.queue) >= maxReports || r.bytes+len(e.Data) > maxReportBytes {
		r.dropped.Inc()
		r.lines.Do(func() {
			r.b.log.Error().Str("type", e.Type).Int("bytes", len(e.Data)).Int("pending", len(r.queue)).
				Msg("a webhook to the application is lost: it is too large, or the outbox takes none (webhooks.outbox)")
		})
		return
	}
	r.queue = append(r.queue, e)
	r.bytes += len(e.Data)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run puts events on disk and looks rooms over until ctx ends.
func (r *reporter) run(ctx context.Context) {
	tick := time.NewTicker(roomsEvery)
	defer tick.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-retry.C:
		case <-tick.C:
			r.takeOver(time.Now())
			if r.watchesRooms() {
				r.look()
			}
		}
		if !r.flush(context.WithoutCancel(ctx)) { // cut short, it would not be known what is on disk
			retry.Reset(reportRetry)
		}
	}
}

// stop puts on disk what run left, and what came after it. The outbox is still open.
func (r *reporter) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), flushWait)
	defer cancel()
	r.flush(ctx)
}

// flush puts what is queued on disk, many in one write; false where the disk did not take all. What it did not take stays queued.
func (r *reporter) flush(ctx context.Context) bool {
	most := reportBatch
	for {
		entries, bytes := r.batch(most)
		if len(entries) == 0 {
			return true
		}
		_, err := r.box.Add(ctx, "", entries...)
		if errors.Is(err, outbox.ErrFull) && len(entries) > 1 {
			most = len(entries) / 2 // there may be room for some
			continue
		}
		if err != nil {
			if ctx.Err() == nil {
				r.lines.Do(func() {
					r.b.log.Error().Err(err).Int("events", len(entries)).Msg("webhooks to the application could not be kept; they are kept in memory and tried again")
				})
			}
			return false
		}
		r.mu.Lock()
		clear(r.queue[:len(entries)])
		r.queue, r.bytes = r.queue[len(entries):], r.bytes-bytes
		r.mu.Unlock()
	}
}

// batch gives the first reports, at most so many, as entries.
func (r *reporter) batch(most int) (entries []outbox.Entry, bytes int) {
	r.mu.Lock()
	first := slices.Clone(r.queue[:min(most, len(r.queue))])
	r.mu.Unlock()
	for _, e := range first {
		body, err := json.Marshal(e)
		if err != nil {
			panic("bridge: a report can't be marshaled: " + err.Error())
		}
		if bytes += len(e.Data); bytes > maxReport && len(entries) > 0 {
			return entries, bytes - len(e.Data)
		}
		entries = append(entries, outbox.Entry{Target: toReporter, Lane: e.lane, Body: body})
	}
	return entries, bytes
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
	r.b.cluster.ShareRooms(now)
	now = maps.Clone(now)
	r.b.cluster.RemoteRooms(func(room string) { now[room] = true })
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
	if !c.Reporter() {
		r.speaks = false
		keep := now.Add(-2*c.Lease() - roomsKept) // another takes its place within less
		r.changes = slices.DeleteFunc(r.changes, func(change roomChange) bool { return change.at.Before(keep) })
		r.changes = r.changes[max(0, len(r.changes)-maxRoomChanges):]
		return
	}
	if !r.speaks {
		since := c.LastReporter().Add(-roomsEvery)
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
