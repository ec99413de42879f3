package tail

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watching follows a tap by its handler and returns what it sees. Nothing is missed once it has
// returned.
func watching(t *testing.T, tap *Tap, bodies bool, f Filter) (<-chan Sight, <-chan error) {
	t.Helper()
	server := httptest.NewServer(tap.Handler(func() bool { return bodies }))
	ctx, stop := context.WithCancel(context.Background())
	seen, ended := make(chan Sight, 8), make(chan error, 1)
	before := tap.count()
	go func() {
		ended <- Follow(ctx, server.URL, f, func(s Sight) error { seen <- s; return nil })
	}()
	t.Cleanup(func() { stop(); server.Close() })
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for tap.count() == before {
		select {
		case <-tick.C:
		case err := <-ended:
			ended <- err
			return seen, ended
		case <-deadline:
			t.Fatal("nobody watches")
		}
	}
	return seen, ended
}

func (t *Tap) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.viewers)
}

func next(t *testing.T, seen <-chan Sight) Sight {
	t.Helper()
	select {
	case s := <-seen:
		return s
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was seen")
		return Sight{}
	}
}

func (t *Tap) change(table, conversation, body string) {
	t.Show(Change, func() Sight {
		return Sight{Text: "INSERT", Table: table, Conversation: conversation, Body: json.RawMessage(body)}
	})
}

func TestAViewerSeesWhatFitsAndNoBodies(t *testing.T) {
	var tap Tap
	seen, _ := watching(t, &tap, true, Filter{Kinds: []Kind{Change, Typing}, Conversation: "c1"})
	tap.change("messages", "c2", `{}`)
	tap.Show(Join, func() Sight { t.Error("built for nobody"); return Sight{} })
	tap.change("messages", "c1", `{"content":"<secret>"}`)
	if s := next(t, seen); s.Kind != Change || s.Text != "INSERT" || s.Table != "messages" || s.Body != nil || s.At.IsZero() {
		t.Errorf("seen %+v", s)
	}
}

func TestBodiesAreForThoseWhoMayAndAsk(t *testing.T) {
	var tap Tap
	seen, _ := watching(t, &tap, true, Filter{Bodies: true})
	tap.change("messages", "c1", `{"content":"<b>"}`)
	if s := next(t, seen); string(s.Body) != `{"content":"<b>"}` {
		t.Errorf("seen %s", s.Body)
	}
	_, ended := watching(t, &tap, false, Filter{Bodies: true})
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "ops.tail_bodies is off") {
		t.Errorf("asked for where they are not shown: %v", err)
	}
}

func TestNobodyIsWaitedFor(t *testing.T) {
	var tap Tap
	v := tap.watch(Filter{})
	for range maxWaiting + 5 {
		tap.change("messages", "c", `{}`)
	}
	if s, ok := v.lost(); !ok || s.Kind != Missed || s.Text != "5" {
		t.Errorf("lost %+v, %t", s, ok)
	}
	if _, ok := v.lost(); ok {
		t.Error("told twice")
	}
}

func TestTheEndIsTold(t *testing.T) {
	var tap Tap
	_, ended := watching(t, &tap, false, Filter{})
	tap.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("ended with %v", err)
	}
	if tap.watch(Filter{}) != nil {
		t.Error("a closed tap is watched")
	}
	tap.change("messages", "c", `{}`)
}

func TestSoManyWatchAndNoMore(t *testing.T) {
	var tap Tap
	for range maxViewers {
		tap.watch(Filter{})
	}
	_, ended := watching(t, &tap, false, Filter{})
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("ended with %v", err)
	}
}

func TestAnUnknownKindIsRefused(t *testing.T) {
	var tap Tap
	w := httptest.NewRecorder()
	tap.Handler(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/tail?kind=join&kind=joy", nil))
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "joy") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAFilterIsReadAsItWasWritten(t *testing.T) {
	f := Filter{Kinds: []Kind{Join, Leave}, Table: "a b", Conversation: "&", Tenant: "=", User: "ü", Bodies: true}
	got := parseFilter(f.query())
	if !slices.Equal(got.Kinds, f.Kinds) || got.Table != f.Table || got.Conversation != f.Conversation || got.Tenant != f.Tenant || got.User != f.User || !got.Bodies {
		t.Errorf("%+v became %+v", f, got)
	}
}
