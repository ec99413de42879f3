package realtimeshare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/phoenix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house keeps what a Sharer tells it. The whole, with a bridge and a Realtime server, is tested in
// package bridge.
type house struct {
	typing map[string]int
	there  map[string]User
	left   int
	looks  atomic.Int32
}

func (h *house) Occupied() ([]string, []string) {
	h.looks.Add(1)
	return []string{"c1"}, []string{"t1"}
}
func (h *house) Present() map[string][]User { return nil }
func (h *house) TenantOf(_ context.Context, conversation string) (string, error) {
	if conversation == "c1" {
		return "t1", nil
	}
	return "", errors.New("no such conversation")
}
func (h *house) Typing(conversation string, user User, on bool) {
	h.typing[fmt.Sprint(conversation, " ", user.ID, " ", user.Name, " ", on)]++
}
func (h *house) Enter(tenant, key string, user User) { h.there[tenant+" "+key] = user }
func (h *house) Leave(tenant, key string, _ User) {
	delete(h.there, tenant+" "+key)
	h.left++
}

// sharer is one that is not running: a test is its goroutine.
func sharer(topic string) (*Sharer, *house) {
	h := &house{typing: make(map[string]int), there: make(map[string]User)}
	s := New(Options{
		Typing: Lane{In: true, Out: true, Topic: topic}, Event: "typing", StopEvent: "stopped", Presence: Lane{In: true, Topic: "p:{tenant}"},
		MaxChannels: 2, PerSecond: 1, Expiry: func() time.Duration { return time.Minute }, House: h, Log: zerolog.Nop(), Registry: prometheus.NewRegistry(),
		Dial: func() (*phoenix.Client, error) { return nil, errors.New("nobody is called here") },
	})
	s.occupied = map[string]bool{"c1": true}
	return s, h
}

func newRoom(w wish) *room {
	return &room{wish: w, topic: "x", typers: make(map[string]time.Time), there: make(map[string]elsewhere)}
}

func TestWhoTypesElsewhereIsReadInTheFormsThatPagesUse(t *testing.T) {
	for _, test := range []struct {
		event, payload, want string
	}{
		{"typing", `{"userId":"u","userName":"Una"}`, "c1 u Una true"},
		{"typing", `{"user_id":7,"is_typing":false}`, "c1 7  false"},
		{"typing", `{"user":{"id":"u","name":"Una"},"isTyping":true}`, "c1 u Una true"},
		{"stopped", `{"userId":"u"}`, "c1 u  false"},
		{"other", `{"userId":"u"}`, ""},
		{"typing", `{"isTyping":true}`, ""},
		{"typing", `["u"]`, ""},
	} {
		s, h := sharer("typing:{conversation}")
		s.hear(t.Context(), newRoom(wish{conversation: "c1", typing: true}), &phoenix.BroadcastMessage{Event: test.event, Payload: []byte(test.payload)})
		if test.want == "" && len(h.typing) > 0 || test.want != "" && h.typing[test.want] != 1 {
			t.Errorf("%s %s: told %v, want %q", test.event, test.payload, h.typing, test.want)
		}
	}
}

func TestOwnSignsAreNotHeard(t *testing.T) {
	s, h := sharer("typing:{conversation}")
	r := newRoom(wish{conversation: "c1", typing: true, presence: true, tenant: "t1"})
	s.hear(t.Context(), r, &phoenix.BroadcastMessage{Event: "typing", Payload: marshal(map[string]string{"userId": "u", "via": s.id})})
	s.hear(t.Context(), r, &phoenix.PresenceState{Present: []phoenix.Presence{{Key: "u", Ref: "1", Meta: marshal(map[string]string{"userId": "u", "via": s.id})}}})
	if len(h.typing)+len(h.there) > 0 {
		t.Errorf("told %v and %v, want nothing", h.typing, h.there)
	}
}

func TestThoseWhoTypeInOneChannelAreBounded(t *testing.T) {
	s, h := sharer("typing:{conversation}")
	r := newRoom(wish{conversation: "c1", typing: true})
	for i := range 3 * maxTypers {
		s.hear(t.Context(), r, &phoenix.BroadcastMessage{Event: "typing", Payload: marshal(map[string]int{"userId": i})})
	}
	if len(h.typing) != maxTypers {
		t.Errorf("%d were told of, want %d", len(h.typing), maxTypers)
	}
}

func TestPresencesElsewhereComeAreUpdatedAndGoUnderOneKey(t *testing.T) {
	s, h := sharer("typing:{conversation}")
	r := newRoom(wish{tenant: "t1", presence: true})
	una := phoenix.Presence{Key: "u", Ref: "1", Meta: json.RawMessage(`{"online_at":"now"}`)}
	away := phoenix.Presence{Key: "u", Ref: "2", Meta: json.RawMessage(`{"status":"away","name":"Una"}`)}
	list := phoenix.Presence{Key: "supabridge:x", Ref: "3", Meta: json.RawMessage(`{"users":[{"userId":"a"},{"userId":"b"},{"no":1}],"via":"another"}`)}
	s.hear(t.Context(), r, &phoenix.PresenceState{Present: []phoenix.Presence{una, list}})
	if len(h.there) != 3 || h.there["t1 x:1"].ID != "u" {
		t.Fatalf("there are %v, want u, a and b", h.there)
	}
	s.hear(t.Context(), r, &phoenix.PresenceDiff{Updates: []phoenix.PresenceChange{{Key: "u", Before: una, After: away}}})
	if got := h.there["t1 x:1"]; h.left > 0 || got.Status != "away" || got.Name != "Una" {
		t.Errorf("after the update %v (%d left), want u away and nobody gone", h.there, h.left)
	}
	s.hear(t.Context(), r, &phoenix.PresenceDiff{Leaves: []phoenix.Presence{away}})
	s.hear(t.Context(), r, &phoenix.PresenceState{})
	if len(h.there) > 0 || len(r.there) > 0 {
		t.Errorf("there are still %v", h.there)
	}
}

func TestOnlyTheLatestOfAUserWaitsAndWhatWaitsIsBounded(t *testing.T) {
	s, _ := sharer("typing:{conversation}")
	for i := range 3 * maxWaiting {
		s.Typed("c1", User{ID: fmt.Sprint(i % (2 * maxWaiting))}, i%2 == 0)
	}
	if len(s.waiting) != maxWaiting || len(s.order) != maxWaiting {
		t.Errorf("%d wait, %d in order, want %d", len(s.waiting), len(s.order), maxWaiting)
	}
}

func FuzzHear(f *testing.F) {
	f.Add("typing", []byte(`{"userId":"u","conversationId":"c1"}`), "1")
	f.Add("stopped", []byte(`{"user":{"id":7},"room":"c1"}`), "")
	f.Add("typing", []byte(`{"users":[{"userId":"a"}]}`), "2")
	f.Fuzz(func(t *testing.T, event string, payload []byte, ref string) {
		s, h := sharer("typing:{tenant}")
		r := newRoom(wish{tenant: "t1", typing: true, presence: true})
		s.hear(context.Background(), r, &phoenix.BroadcastMessage{Event: event, Payload: payload})
		p := phoenix.Presence{Key: event, Ref: ref, Meta: payload}
		s.hear(context.Background(), r, &phoenix.PresenceState{Present: []phoenix.Presence{p}})
		s.hear(context.Background(), r, &phoenix.PresenceDiff{Updates: []phoenix.PresenceChange{{Key: event, Before: p, After: p}}})
		for key, user := range h.there {
			if user.ID == "" || len(user.ID) > maxText {
				t.Errorf("%s: user %q", key, user.ID)
			}
		}
		s.forget(r)
		if len(h.there) > 0 {
			t.Errorf("forgotten, and still there: %v", h.there)
		}
	})
}

func TestThousandsWhoJoinCauseFewLooksThroughAllRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := sharer("typing:{conversation}")
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx) })
		s.Nudge()
		synctest.Wait()
		if n := h.looks.Load(); n != 1 {
			t.Errorf("%d looks after the first nudge, want one at once", n)
		}
		for range 5000 { // within half a second
			s.Nudge()
			time.Sleep(100 * time.Microsecond)
		}
		time.Sleep(lookPause)
		if n := h.looks.Load(); n > 8 {
			t.Errorf("%d looks for 5,000 nudges in half a second, want one each %s", n, lookPause)
		}
		before := h.looks.Load()
		s.Nudge()
		time.Sleep(lookPause)
		synctest.Wait()
		if h.looks.Load() == before {
			t.Error("a nudge after a flood is not looked at")
		}
		stop()
		running.Wait()
	})
}
