package webhook_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/webhook"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/hooktest"
)

// reportsTo configures reports to an application.
func reportsTo(a *hooktest.App, path string, change func(*config.Config)) func(*config.Config) {
	return func(c *config.Config) {
		c.Webhooks.Outgoing = config.Outgoing{URL: a.URL, Secret: ourSecret, Events: []string{
			webhook.UserOnline, webhook.UserOffline, webhook.MessagesRead, "room_occupied", "room_vacated",
		}}
		c.Webhooks.Outbox.Path = path
		if change != nil {
			change(c)
		}
	}
}

func number(n int) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)) }

// reports lists what came to an application: types and data.
func reports(t *testing.T, a *hooktest.App) (all []string) {
	t.Helper()
	a.Mu.Lock()
	defer a.Mu.Unlock()
	for _, body := range a.Bodies {
		var r struct {
			ID, Type string
			Data     json.RawMessage
		}
		if err := json.Unmarshal([]byte(body), &r); err != nil || r.ID == "" {
			t.Fatalf("report %s: %v", body, err)
		}
		all = append(all, r.Type+" "+string(r.Data))
	}
	return all
}

func TestAFloodOfReportsLosesNone(t *testing.T) {
	t.Parallel()
	const events = 8000
	a := hooktest.NewApp(t)
	a.SetAway(true)
	w := newWorld(t, reportsTo(a, filepath.Join(t.TempDir(), "outbox.db"), nil))
	for i := range events {
		w.hooks.Report(webhook.MessagesRead, fmt.Sprint("lane ", i%100), number(i+1))
	}
	w.eventually("all are on disk", func() bool { return w.hooks.Outbox().Stats().Waiting == events })
	s := w.scrape()
	if !strings.Contains(s, "supabridge_outgoing_dropped_total 0") || !strings.Contains(s, "supabridge_outgoing_pending 0") {
		t.Error("the metrics count some as dropped or pending")
	}
}

func TestReportsWaitForRoomInTheOutbox(t *testing.T) {
	t.Parallel()
	const events = 200
	a := hooktest.NewApp(t)
	a.SetAway(true)
	w := newWorld(t, reportsTo(a, filepath.Join(t.TempDir(), "outbox.db"), func(c *config.Config) {
		c.Webhooks.Outbox.MaxSize = 4000
	}))
	for i := range events {
		w.hooks.Report(webhook.MessagesRead, fmt.Sprint("lane ", i), number(i+1))
	}
	w.eventually("the outbox is full", func() bool { return strings.Contains(w.log.String(), "could not be kept") })
	a.SetAway(false)
	a.Await(t, events)
	got := make(map[string]bool)
	for _, r := range reports(t, a) {
		got[r] = true
	}
	if len(got) != events {
		t.Errorf("%d different reports came, want %d", len(got), events)
	}
}

func TestReportsThatAStopLosesAreCounted(t *testing.T) {
	t.Parallel()
	a := hooktest.NewApp(t)
	a.SetAway(true)
	w := newWorld(t, reportsTo(a, filepath.Join(t.TempDir(), "outbox.db"), func(c *config.Config) {
		c.Webhooks.Outbox.MaxSize = 1000
	}))
	for i := range 100 {
		w.hooks.Report(webhook.MessagesRead, fmt.Sprint("lane ", i), number(i+1))
	}
	w.stop()
	const lost = "webhooks to the application are lost: the bridge stops before the outbox took them"
	if !strings.Contains(w.log.String(), lost) {
		t.Errorf("the log doesn't say that webhooks are lost:\n%s", w.log)
	}
}

func TestReportsOfTheLastMomentAreOnDisk(t *testing.T) {
	t.Parallel()
	const events = 3000
	path := filepath.Join(t.TempDir(), "outbox.db")
	a := hooktest.NewApp(t)
	a.SetAway(true)
	w := newWorld(t, reportsTo(a, path, nil))
	for i := range events {
		lane := strings.Repeat("a lane with a long name ", 100) + fmt.Sprint(i%10)
		w.hooks.Report(webhook.MessagesRead, lane, number(i+1))
	}
	w.stop()
	w.hooks.Report(webhook.MessagesRead, "after the end", nil) // reaches nobody and breaks nothing
	box, err := outbox.Open(outbox.Options{Path: path, ExistingOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	}()
	if s := box.Stats(); s.Waiting != events {
		t.Errorf("%d of %d are on disk", s.Waiting, events)
	}
}

// nodes is a cluster of this node and another.
type nodes struct {
	mu       sync.Mutex // guards what follows
	reporter bool       // this node is
	last     time.Time  // the other was
	remote   []string   // rooms
	shared   map[string]bool
}

func (n *nodes) Reporter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reporter
}

func (n *nodes) LastReporter() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last
}

func (n *nodes) Lease() time.Duration { return time.Hour }

func (n *nodes) ShareRooms(occupied map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shared = occupied
}

func (n *nodes) RemoteRooms(f func(string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, room := range n.remote {
		f(room)
	}
}

func (n *nodes) set(change func(*nodes)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

func TestANodeThatTakesOverSendsWhatTheOtherMayNotHaveSent(t *testing.T) {
	t.Parallel()
	a := hooktest.NewApp(t)
	n := &nodes{remote: []string{"remote"}}
	path := filepath.Join(t.TempDir(), "outbox.db")
	w := newNode(t, reportsTo(a, path, nil), n, func() map[string]bool { return map[string]bool{"here": true} })
	w.hooks.ReportOnce(webhook.UserOnline, "u", number(1))
	w.hooks.Report(webhook.MessagesRead, "c", number(2))
	a.Await(t, 1)
	w.eventually("the other node knows the rooms of this one", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.shared["here"] && len(n.shared) == 1
	})
	if got := reports(t, a); !slices.Equal(got, []string{`messages_read {"n":2}`}) {
		t.Errorf("while the other node is the reporter this one sends %q, want what happened here alone", got)
	}
	n.set(func(n *nodes) { n.reporter = true })
	a.Await(t, 3)
	got := reports(t, a)[1:]
	slices.Sort(got)
	want := []string{`room_occupied {"room":"here"}`, `room_occupied {"room":"remote"}`, `user_online {"n":1}`}
	if !slices.Equal(got, want) {
		t.Errorf("after it has taken over it sends %q, want %q", got, want)
	}
	n.set(func(n *nodes) { n.remote = nil })
	a.Await(t, 1)
	if got := reports(t, a)[4]; got != `room_vacated {"room":"remote"}` {
		t.Errorf("then %s, want that the room was vacated", got)
	}
}

func TestANodeThatTakesOverLeavesWhatTheOtherHasSent(t *testing.T) {
	t.Parallel()
	a := hooktest.NewApp(t)
	n := &nodes{}
	path := filepath.Join(t.TempDir(), "outbox.db")
	w := newNode(t, reportsTo(a, path, nil), n, func() map[string]bool { return nil })
	w.hooks.ReportOnce(webhook.UserOnline, "u", number(1))
	n.set(func(n *nodes) { n.last, n.reporter = time.Now().Add(time.Hour), true })
	w.eventually("what is new is sent at once", func() bool {
		w.hooks.ReportOnce(webhook.UserOffline, "u", number(2))
		return len(reports(t, a)) > 0
	})
	if got := reports(t, a)[0]; got != `user_offline {"n":2}` {
		t.Errorf("%s was sent first, want nothing of before", got)
	}
}

func TestWithoutConfigurationNothingIsTakenReportedOrKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, path := range []string{"/webhooks/twilio", "/webhooks/supabase"} {
		if code, _ := w.post(path, "x"); code != 404 {
			t.Errorf("%s: %d, want 404", path, code)
		}
	}
	w.hooks.Report(webhook.MessagesRead, "c", number(1))
	w.hooks.ReportOnce(webhook.UserOnline, "u", number(1))
	w.hooks.Rouse()
	if w.hooks.ReportsRooms() || w.hooks.Outbox() != nil {
		t.Error("there is an outbox, or rooms are reported")
	}
	if s := w.scrape(); s != "" {
		t.Errorf("there are metrics:\n%s", s)
	}
}
