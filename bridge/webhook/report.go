package webhook

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
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/config"
)

// The kinds of reports, as webhooks.outgoing.events names them.
const (
	UserOnline   = "user_online"
	UserOffline  = "user_offline"
	MessagesRead = "messages_read"
	RoomOccupied = "room_occupied"
	RoomVacated  = "room_vacated"
)

// RoomsEvery is how often it is looked which rooms are occupied, where the application is informed
// of that.
const RoomsEvery = time.Second

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
	roomsKept      = 5 * time.Second // beyond two leases, for which a node keeps what the reporter is to send
	maxRoomChanges = 4096            // that are kept for that
)

// report is what is reported to the application, as it is posted.
type report struct {
	ID   string          `json:"id"` // the same when it is sent again
	Type string          `json:"type"`
	At   time.Time       `json:"at"`
	Data json.RawMessage `json:"data"`

	lane string
}

// reporter puts reports into the outbox. Those who make a report hand it over and go on: they touch
// only what mu guards. run's goroutine owns what is below wake. A reporter without kinds of events
// takes none.
type reporter struct {
	events    []string
	box       *outbox.Outbox
	nodes     Nodes
	roomsHere func() map[string]bool
	log       zerolog.Logger

	mu      sync.Mutex
	queue   []report // not on disk yet, in their order
	bytes   int      // of their data
	late    []report // which another node sends, or this one if that is gone
	dropped prometheus.Counter
	lines   rate.Sometimes // holds the log lines of what goes wrong

	wake     chan struct{}   // of capacity 1
	occupied map[string]bool // at any node
	changes  []roomChange    // of late, which another node is to report
	leads    bool            // this node reported the last ones
}

// roomChange is that a room came to be occupied, or vacated.
type roomChange struct {
	kind, room string
	at         time.Time
}

func newReporter(opts Options, box *outbox.Outbox) *reporter {
	r := &reporter{
		box: box, nodes: opts.Nodes, roomsHere: opts.Occupied, log: opts.Log,
		wake: make(chan struct{}, 1), occupied: make(map[string]bool),
	}
	r.lines = rate.Sometimes{First: 3, Interval: logEvery}
	r.dropped = prometheus.NewCounter(prometheus.CounterOpts{Name: "outgoing_dropped_total",
		Help: "Webhooks to the application that were lost, since the outbox took none for too long."})
	if opts.Config.Outgoing.URL == "" {
		return r
	}
	r.events = opts.Config.Outgoing.Events
	opts.Register.MustRegister(r.dropped, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "outgoing_pending",
		Help: "Webhooks to the application that are not in the outbox yet."}, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(len(r.queue))
	}))
	return r
}

// add queues a report and never waits.
func (r *reporter) add(kind, lane string, data json.RawMessage) {
	if !slices.Contains(r.events, kind) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(report{ID: uuid.NewString(), Type: kind, At: time.Now().UTC(), Data: data, lane: lane})
}

// share takes a report that all nodes make: one of them sends it. The others keep it for a while,
// in case that node is gone before it has.
func (r *reporter) share(kind, lane string, data json.RawMessage) {
	if !slices.Contains(r.events, kind) {
		return
	}
	e := report{ID: uuid.NewString(), Type: kind, At: time.Now().UTC(), Data: data, lane: lane}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nodes.Reporter() && len(r.late) == 0 {
		r.put(e)
		return
	}
	if len(r.late) == maxLate {
		r.late = r.late[1:]
	}
	r.late = append(r.late, e)
}

// takeOver sends what another node may not have sent, once this node is the reporter. Else it
// forgets what that one has sent.
func (r *reporter) takeOver(now time.Time) {
	leads, since := r.nodes.Reporter(), r.nodes.LastReporter().Add(-RoomsEvery)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !leads {
		keep := now.Add(-2*r.nodes.Lease() - roomsKept) // another node takes over within less
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
			r.log.Error().Str("type", e.Type).Int("bytes", len(e.Data)).Int("pending", len(r.queue)).
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

// run puts reports on disk and looks which rooms are occupied, until ctx ends.
func (r *reporter) run(ctx context.Context) {
	if len(r.events) == 0 {
		return
	}
	tick := time.NewTicker(RoomsEvery)
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
	if r.flush(ctx) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped.Add(float64(len(r.queue)))
	r.log.Error().
		Int("events", len(r.queue)).
		Msg("webhooks to the application are lost: the bridge stops before the outbox took them")
}

// flush puts what is queued on disk, many in one write. It reports whether the disk took all; the
// rest stays queued.
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
					r.log.Error().Err(err).Int("events", len(entries)).
						Msg("webhooks to the application could not be kept; they are kept in memory and tried again")
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
			panic("webhook: a report can't be marshaled: " + err.Error())
		}
		if bytes += len(e.Data); bytes > maxReport && len(entries) > 0 {
			return entries, bytes - len(e.Data)
		}
		entries = append(entries, outbox.Entry{Target: toReporter, Lane: e.lane, Body: body})
	}
	return entries, bytes
}

// watchesRooms reports whether the application is informed of rooms.
func (r *reporter) watchesRooms() bool {
	return slices.Contains(r.events, RoomOccupied) || slices.Contains(r.events, RoomVacated)
}

// look finds which rooms of conversations and tenants came and went since the last time, at all
// nodes together.
func (r *reporter) look() {
	here := r.roomsHere()
	r.nodes.ShareRooms(here)
	now := make(map[string]bool, len(here))
	maps.Copy(now, here)
	r.nodes.RemoteRooms(func(room string) { now[room] = true })
	at := time.Now()
	for room := range now {
		if !r.occupied[room] {
			r.changes = append(r.changes, roomChange{RoomOccupied, room, at})
		}
	}
	for room := range r.occupied {
		if !now[room] {
			r.changes = append(r.changes, roomChange{RoomVacated, room, at})
		}
	}
	r.occupied = now
	r.sendChanges(at)
}

// sendChanges reports what has changed, if this node is the reporter. One that has just become it
// begins where the one before may have ended, and reports the last change of each room: at that
// moment something may be reported twice, rather than not at all.
func (r *reporter) sendChanges(now time.Time) {
	if !r.nodes.Reporter() {
		r.leads = false
		keep := now.Add(-2*r.nodes.Lease() - roomsKept) // another node takes over within less
		r.changes = slices.DeleteFunc(r.changes, func(change roomChange) bool { return change.at.Before(keep) })
		r.changes = r.changes[max(0, len(r.changes)-maxRoomChanges):]
		return
	}
	if !r.leads {
		since := r.nodes.LastReporter().Add(-RoomsEvery)
		last := make(map[string]time.Time)
		for _, change := range r.changes {
			last[change.room] = change.at
		}
		r.changes = slices.DeleteFunc(r.changes, func(change roomChange) bool {
			return change.at.Before(since) || change.at != last[change.room]
		})
	}
	for _, change := range r.changes {
		r.add(change.kind, change.room, roomData(change.room))
	}
	r.changes, r.leads = nil, true
}

// roomData is what a report of a room says.
func roomData(room string) json.RawMessage {
	data, err := json.Marshal(map[string]string{"room": room})
	if err != nil {
		panic("webhook: a room's name can't be marshaled: " + err.Error())
	}
	return data
}

// deliverReport posts a report to the application, signed.
func deliverReport(c config.Outgoing, client *http.Client) outbox.Deliver {
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
