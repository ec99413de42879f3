package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// directory answers which tenant a conversation has.
type directory struct {
	mu      sync.Mutex
	tenants map[string]string
	err     error
	asked   []string
	batches [][]string
	before  func(ctx context.Context, ids []string) error // is called before it answers; nil: nothing is
}

func (d *directory) Values(ctx context.Context, _, _, _ string, ids []string) (pairs []supabase.Pair, err error) {
	d.mu.Lock()
	d.asked, d.batches = append(d.asked, ids...), append(d.batches, ids)
	d.mu.Unlock()
	if d.before != nil {
		if err := d.before(ctx, ids); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if tenant, ok := d.tenants[id]; ok {
			pairs = append(pairs, supabase.Pair{Key: id, Value: tenant})
		}
	}
	return pairs, d.err
}

type emission struct {
	event   vocabulary.Event
	rooms   string // sorted, joined by spaces
	payload map[string]any
}

type route struct {
	*router
	t       *testing.T
	sent    []emission
	resyncs []string
	tenants *directory
}

func newRoute(t *testing.T, tenants map[string]string) *route {
	t.Helper()
	r := &route{t: t, tenants: &directory{tenants: tenants}}
	cfg := config.Default()
	words, err := vocabulary.New(vocabulary.Options{TenantNoun: "distributor"})
	if err != nil {
		t.Fatal(err)
	}
	known, err := newTenants(cfg, r.tenants)
	if err != nil {
		t.Fatal(err)
	}
	r.router, err = newRouter(always(cfg), always(words), known, zerolog.Nop(), func(to emit.Audience, o *vocabulary.Occasion) {
		e := emission{event: o.Event}
		payload := said(t, words, o)
		if err := json.Unmarshal(payload, &e.payload); err != nil {
			t.Errorf("payload %s: %v", payload, err)
		}
		rooms := to.Rooms(vocabulary.ToConversation | vocabulary.ToTenant)
		slices.Sort(rooms)
		e.rooms = strings.Join(slices.Compact(rooms), " ")
		r.sent = append(r.sent, e)
	}, func(_ time.Time, reason string) { r.resyncs = append(r.resyncs, reason) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.waiting.asker.close)
	return r
}

// said is the payload with which the preset sends an occasion.
func said(t *testing.T, words *vocabulary.Vocabulary, o *vocabulary.Occasion) json.RawMessage {
	t.Helper()
	us := words.Say(words.Preset(), o)
	if len(us) != 1 || len(us[0].Args) != 1 {
		t.Fatalf("%v is said as %+v, want one event with one argument", o.Event, us)
	}
	return us[0].Args[0]
}

func (r *route) change(table, action, record, old string) []emission {
	r.t.Helper()
	return r.take(feed.Change{Table: table, Action: feed.Action(action), Row: parsed(r.t, record), Old: parsed(r.t, old)})
}

// take routes a change and gives what was told once nothing waits any more.
func (r *route) take(c feed.Change) []emission {
	r.t.Helper()
	r.sent = nil
	r.waiting.take(r.t.Context(), c)
	r.drain()
	return r.sent
}

// drain has everything that waits told.
func (r *route) drain() {
	r.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for r.waiting.count > 0 {
		select {
		case <-r.waiting.inbox.more:
			r.waiting.collect()
		case <-timeout.C:
			r.t.Fatalf("%d changes still wait", r.waiting.count)
		}
	}
}

// parsed reads a record; an empty one is no row.
func parsed(t *testing.T, record string) row.Row {
	t.Helper()
	if record == "" {
		return row.Row{}
	}
	r, err := row.Parse(json.RawMessage(record))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *route) expect(sent []emission, want ...emission) {
	r.t.Helper()
	if len(sent) != len(want) {
		r.t.Fatalf("%d events were sent, want %d: %+v", len(sent), len(want), sent)
	}
	for i, w := range want {
		if sent[i].event != w.event || sent[i].rooms != w.rooms {
			r.t.Errorf("event %d went to %q, want event %d to %q", sent[i].event, sent[i].rooms, w.event, w.rooms)
		}
		for key, value := range w.payload {
			if sent[i].payload[key] != value {
				r.t.Errorf("payload: %s is %v, want %v", key, sent[i].payload[key], value)
			}
		}
	}
}

func TestAMessageGoesToItsConversationAndItsTenant(t *testing.T) {
	t.Parallel()
	r := newRoute(t, map[string]string{"c1": "d1"})
	sent := r.change("messages", "INSERT", `{"id":"m1","conversation_id":"c1","content":"hi","status":"SENT"}`, "")
	r.expect(sent, emission{vocabulary.MessageCreated, "conversation:c1 tenant:d1",
		map[string]any{"id": "m1", "conversation_id": "c1", "conversationId": "c1", "distributorId": "d1", "content": "hi"}})
	r.change("messages", "INSERT", `{"id":"m2","conversation_id":"c1"}`, "")
	if !slices.Equal(r.tenants.asked, []string{"c1"}) {
		t.Errorf("Supabase was asked for the tenants of %q, want once for c1", r.tenants.asked)
	}
}

func TestAnUpdateOfTheStatusIsToldAsThatToo(t *testing.T) {
	t.Parallel()
	r := newRoute(t, map[string]string{"c1": "d1"})
	const rooms = "conversation:c1 tenant:d1"
	r.change("messages", "INSERT", `{"id":"m1","conversation_id":"c1","status":"SENT"}`, "")
	sent := r.change("messages", "UPDATE", `{"id":"m1","conversation_id":"c1","status":"READ","updated_at":"T"}`, `{"id":"m1"}`)
	r.expect(sent, emission{vocabulary.MessageUpdated, rooms, map[string]any{"status": "READ"}},
		emission{vocabulary.MessageStatus, rooms, map[string]any{"messageId": "m1", "id": "m1", "conversationId": "c1", "status": "READ", "previousStatus": "SENT", "timestamp": "T"}})
	sent = r.change("messages", "UPDATE", `{"id":"m1","conversation_id":"c1","status":"READ","content":"edited"}`, `{"id":"m1"}`)
	r.expect(sent, emission{vocabulary.MessageUpdated, rooms, map[string]any{"content": "edited"}})
	sent = r.change("messages", "UPDATE", `{"id":"unseen","conversation_id":"c1","status":"READ"}`, `{"id":"unseen","status":"SENT"}`)
	r.expect(sent, emission{vocabulary.MessageUpdated, rooms, nil}, emission{vocabulary.MessageStatus, rooms, map[string]any{"previousStatus": "SENT"}})
}

func TestADeleteThatCarriesOnlyTheKeyReachesItsRooms(t *testing.T) {
	t.Parallel()
	r := newRoute(t, map[string]string{"c1": "d1"})
	r.change("messages", "INSERT", `{"id":7,"conversation_id":"c1"}`, "")
	r.expect(r.change("messages", "DELETE", "", `{"id":7}`),
		emission{vocabulary.MessageDeleted, "conversation:c1 tenant:d1", map[string]any{"id": 7.0, "messageId": 7.0, "conversationId": "c1"}})
	r.expect(r.change("messages", "DELETE", "", `{"id":7}`))
	if len(r.resyncs) != 1 {
		t.Errorf("%d resyncs, want one for the delete of a message that nobody remembers", len(r.resyncs))
	}
}

func TestConversationsTeachTheirTenant(t *testing.T) {
	t.Parallel()
	r := newRoute(t, nil)
	r.expect(r.change("conversations", "INSERT", `{"id":"c1","distributor_id":"d1"}`, ""),
		emission{vocabulary.ConversationCreated, "conversation:c1 tenant:d1", map[string]any{"conversationId": "c1", "distributorId": "d1"}})
	r.expect(r.change("messages", "INSERT", `{"id":"m1","conversation_id":"c1"}`, ""), emission{vocabulary.MessageCreated, "conversation:c1 tenant:d1", nil})
	r.expect(r.change("conversations", "UPDATE", `{"id":"c1","distributor_id":"d2"}`, `{"id":"c1"}`),
		emission{vocabulary.ConversationDeleted, "tenant:d1", map[string]any{"distributorId": "d1"}},
		emission{vocabulary.ConversationCreated, "tenant:d2", nil},
		emission{vocabulary.ConversationUpdated, "conversation:c1", map[string]any{"distributorId": "d2"}})
	r.expect(r.change("messages", "INSERT", `{"id":"m2","conversation_id":"c1"}`, ""), emission{vocabulary.MessageCreated, "conversation:c1 tenant:d2", nil})
	r.expect(r.change("conversations", "DELETE", "", `{"id":"c1"}`), emission{vocabulary.ConversationDeleted, "conversation:c1 tenant:d2", nil})
	if len(r.tenants.asked) != 0 {
		t.Errorf("Supabase was asked for %q, want nothing: the changes had told it", r.tenants.asked)
	}
}

func TestWithoutItsTenantAMessageStillReachesItsConversation(t *testing.T) {
	t.Parallel()
	r := newRoute(t, nil)
	r.tenants.err = errors.New("down")
	r.expect(r.change("messages", "INSERT", `{"id":"m1","conversation_id":"c1"}`, ""), emission{vocabulary.MessageCreated, "conversation:c1", nil})
}

func TestChangesOfOtherTablesAndWithoutAKeyReachNobody(t *testing.T) {
	t.Parallel()
	r := newRoute(t, nil)
	r.expect(r.change("orders", "INSERT", `{"id":"o1","conversation_id":"c1"}`, ""))
	r.expect(r.change("messages", "INSERT", `{}`, ""))
	r.expect(r.change("conversations", "DELETE", "", `{}`))
}

func TestDigitsBeyondAFloatPassUntouched(t *testing.T) {
	t.Parallel()
	var payload json.RawMessage
	r := newRoute(t, map[string]string{"c1": "d1"})
	r.emit = func(_ emit.Audience, o *vocabulary.Occasion) { payload = said(t, r.words(), o) }
	r.change("messages", "INSERT", `{"id":9223372036854775807,"conversation_id":"c1","n":10.50}`, "")
	for _, want := range []string{`"id":9223372036854775807`, `"n":10.50`} {
		if !strings.Contains(string(payload), want) {
			t.Errorf("%s is not in %s", want, payload)
		}
	}
}

func always[T any](value T) func() T { return func() T { return value } }
