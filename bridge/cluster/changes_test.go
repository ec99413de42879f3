package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/cluster"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
)

// led is the feed and the connection to Realtime of a node where one leads.
type led struct {
	*node
	do    chan func() // for the feed's goroutine
	over  chan struct{}
	leave func()

	mu    sync.Mutex
	on    bool
	lines []string
}

func (l *led) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *led) hears(line string) {
	l.t.Helper()
	eventually.Nothing(l.t, line, func() string {
		l.mu.Lock()
		defer l.mu.Unlock()
		if slices.Contains(l.lines, line) {
			return ""
		}
		return fmt.Sprintf("it heard %q", l.lines)
	})
}

// onFeed calls f on the feed's goroutine and waits for it.
func (l *led) onFeed(f func()) {
	done := make(chan struct{})
	l.do <- func() { defer close(done); f() }
	<-done
}

func (l *led) isOn() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.on
}

func (l *led) set(on bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on = on
	return nil
}

func (l *led) On(context.Context) error  { return l.set(true) }
func (l *led) Off(context.Context) error { return l.set(false) }

func (l *led) Mark() feed.Mark { return feed.Mark{State: feed.Live} }

func (l *led) Tenants(c feed.Change) map[string]string { return map[string]string{"c": "tenant"} }

func (l *led) Reached(p feed.Place) { l.note("reached %d", p.N) }

func (l *led) LearnTenants(tenants map[string]string) { l.note("learned %v", tenants) }

func (l *led) Over() <-chan struct{} { return l.over }

// startLed makes a node that runs, with a feed that only notes what comes.
func startLed(t *testing.T, opts cluster.Options) *led {
	t.Helper()
	l := &led{do: make(chan func()), over: make(chan struct{})}
	opts.Changes = &cluster.ChangesOptions{Realtime: l, Feed: l}
	l.node = newNode(t, opts)
	stopFeed := running(func(ctx context.Context) {
		defer close(l.over)
		for {
			select {
			case <-ctx.Done():
				return
			case f := <-l.do:
				f()
			case e := <-l.Changes().Events():
				switch e := e.(type) {
				case feed.BusDo:
					e()
				case feed.BusChange:
					l.note("change %d: %s", e.Change.Place.N, e.Change.Row.Text("id"))
				case feed.BusOffer:
					l.note("offer %s", e.Record)
				case feed.BusResync:
					l.note("resync: %s", e.Reason)
				default:
					l.note("%T", e)
				}
			}
		}
	})
	stopChanges, stopRun := running(l.Changes().Run), running(l.Run)
	l.leave = sync.OnceFunc(func() { stopRun(); stopChanges(); stopFeed() })
	t.Cleanup(l.leave)
	return l
}

func change(t *testing.T, text string) feed.Change {
	t.Helper()
	r, err := row.Parse(json.RawMessage(text))
	if err != nil {
		t.Fatal(err)
	}
	return feed.Change{Table: "messages", Action: feed.Insert, Row: r}
}

func TestTheLeaderAloneHearsRealtimeAndPassesChangesOn(t *testing.T) {
	t.Parallel()
	opts := options(redistest.Start(t).URL())
	opts.Lease = 10 * time.Second // a node that hears no leader for two of them would hear Realtime
	a := startLed(t, opts)
	eventually.True(t, "the first node leads and hears Realtime", a.isOn)
	b := startLed(t, opts)
	b.hears("feed.BusLive")
	if b.isOn() || b.Status().Hears {
		t.Error("a node hears Realtime beside the leader")
	}

	a.onFeed(func() {
		if p := a.Changes().PassOn(change(t, `{"id":"m1"}`)); p.N != 1 || p.Term == 0 {
			t.Errorf("the place of the first change is %+v", p)
		}
		a.Changes().PassOnResync(time.Now(), "a test")
	})
	b.hears("change 1: m1")
	b.hears("learned map[c:tenant]")
	b.hears("resync: a test")
	b.hears("reached 1") // by the next sign of life
	b.onFeed(func() {
		if p := b.Changes().PassOn(change(t, `{"id":"m2"}`)); p != (feed.Place{}) {
			t.Errorf("a node that is led passes a change on as %+v", p)
		}
	})

	if !b.Changes().Offer("messages", feed.Insert, json.RawMessage(`{"id":"m3"}`)) {
		t.Error("a row is for the own feed of a node that is led")
	}
	a.hears(`offer {"id":"m3"}`)
	if a.Changes().Offer("messages", feed.Insert, json.RawMessage(`{}`)) {
		t.Error("a row of the leader's is offered to others")
	}

	a.leave()
	if a.isOn() {
		t.Error("a node that stopped hears Realtime")
	}
	eventually.True(t, "the other leads and hears Realtime", func() bool { return b.isOn() && b.Status().Leads })
	b.onFeed(func() {
		if p := b.Changes().PassOn(change(t, `{"id":"m4"}`)); p.N != 1 || p.Term < 2 {
			t.Errorf("the place of the first change of the next leader is %+v", p)
		}
	})
}
