package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/cluster"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio"
)

// running calls a function with a context that stop ends; stop waits for it.
func running(f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func() { cancel(); <-done }
}

func TestTheWaitForOtherNodesBeginsWhenTheNodeRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opts := options(nowhere)
		opts.Register = prometheus.NewRegistry()
		c, err := cluster.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		time.Sleep(time.Minute) // from New to Run
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if c.AwaitJoined(ctx); ctx.Err() == nil {
			t.Error("the wait was over before the node ran")
		}
	})
}

func TestANodeThatHearsRedisBeforeItHasAServerWaitsForThat(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	for _, made := range []bool{true, false} {
		var log bytes.Buffer
		opts := options(redis.URL())
		opts.Register, opts.Log = prometheus.NewRegistry(), zerolog.New(zerolog.SyncWriter(&log))
		c, err := cluster.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		var heard sync.WaitGroup
		heard.Go(func() { c.RedisChanged(nil) }) // as the adapter's goroutine does
		if made {
			io, err := socketio.Open(socketio.Options{})
			if err != nil {
				t.Fatal(err)
			}
			c.Serve(io, nil)
			heard.Wait()
			io.Close()
		}
		c.Close()
		heard.Wait()
		if joined := log.Len() > 0; joined != made {
			t.Errorf("the server was made %t: the log says %q", made, log.String())
		}
	}
}

func TestANodeThatIsAloneDoesNothing(t *testing.T) {
	t.Parallel()
	made, err := cluster.New(cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*cluster.Cluster{"without Redis": made, "nil": nil} {
		io, err := socketio.Open(socketio.Options{Adapter: c.Adapter()})
		if err != nil {
			t.Fatal(err)
		}
		c.Serve(io, nil)
		c.Update(time.Second)
		c.AwaitJoined(t.Context())
		c.CatchUp(t.Context())
		c.Typing(vocabulary.NewID("c"), "s", ana, true)
		c.Read(vocabulary.NewID("c"), ana, nil)
		c.Enter("t", "s", ana, "")
		c.Leave("t", "s", ana, cluster.Lost)
		c.StyleHeard(vocabulary.Styles()[0])
		c.Disconnect(publish.Whom{User: "ana"})
		c.ShareRooms(map[string]bool{"r": true})
		c.RemoteRooms(func(room string) { t.Errorf("%s: room %s is occupied elsewhere", name, room) })
		if n, missing := c.Matching(t.Context(), publish.Whom{User: "ana"}); n != 0 || missing != 0 {
			t.Errorf("%s: %d are reached and %d nodes are missing", name, n, missing)
		}
		if c.Adapter() != nil || c.Changes() != nil || c.Status() != nil || c.Ready() != nil || c.Lease() != 0 {
			t.Errorf("%s: it has a part in a cluster", name)
		}
		if !c.Reporter() || !c.LastReporter().IsZero() {
			t.Errorf("%s: it leaves it to others to report", name)
		}
		c.Run(t.Context()) // returns
		c.Close()
		io.Close()
	}
}

func TestWhatHappensAtOneNodeIsHeardAtTheOther(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"pubsub", "sharded", "streams"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			opts := options(redistest.Start(t).URL())
			opts.Mode = mode
			a, b := pair(t, opts)
			number := vocabulary.ID{Text: "7", JSON: json.RawMessage("7")}
			a.Typing(number, "1", ana, true)
			b.hears("ana types in 7: true")
			a.Typing(vocabulary.NewID("7"), "1", ana, false)
			b.hears(`ana types in "7": false`)
			a.Read(number, ana, json.RawMessage(`["m"]`))
			b.hears(`ana read ["m"] of 7`)
			style := vocabulary.Styles()[1]
			a.StyleHeard(style)
			b.hears("style " + style.String())
			a.Disconnect(publish.Whom{User: "ben"})
			b.hears("disconnect ben")

			a.Enter("t", "1", ana, "")
			b.sees("[ana]")
			a.Enter("t", "1", ana, "busy")
			b.sees("[anabusy]")
			a.Enter("t", "2", ben, "")
			b.sees("[anabusy ben]")
			a.Leave("t", "1", ana, cluster.Revoked)
			b.hears(fmt.Sprint("ana left t: ", cluster.Revoked))
			a.Leave("t", "2", ben, cluster.Goodbye)
			b.hears(fmt.Sprint("ben left t: ", cluster.Goodbye))
			b.sees("[]")

			counts, missing := a.Reached(t.Context(), []publish.Event{
				{Rooms: []string{"r", "s"}}, {Users: []string{"u"}}, {Except: []string{"nobody named"}}})
			if fmt.Sprint(counts, missing) != "[2 10 0] 0" {
				t.Errorf("events reach %v, and %d nodes are missing; want [2 10 0] and none", counts, missing)
			}
			if n, missing := a.Matching(t.Context(), publish.Whom{User: "four"}); n != 4 || missing != 0 {
				t.Errorf("%d are to be disconnected, and %d nodes are missing; want 4 and none", n, missing)
			}
		})
	}
}

func TestANodeThatComesLaterLearnsWhoAndWhatIsThere(t *testing.T) {
	t.Parallel()
	opts := options(redistest.Start(t).URL())
	a := start(t, opts)
	const users = 1200 // more than fit one note
	for i := range users {
		a.here[fmt.Sprint(i)] = ana
	}
	style := vocabulary.Styles()[1]
	a.emitter.Use(style)
	rooms := make(map[string]bool)
	for i := range users {
		rooms[fmt.Sprint("room", i)] = true
	}
	a.ShareRooms(rooms)
	b := start(t, opts)
	b.hears("style " + style.String())
	online := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.online)
	}
	occupied := func() (n int) {
		b.RemoteRooms(func(string) { n++ })
		return n
	}
	eventually.Equal(t, "users at the other node", users, online)
	eventually.Equal(t, "rooms at the other node", users, occupied)
	a.ShareRooms(map[string]bool{"another": true})
	eventually.Equal(t, "rooms at the other node", 1, occupied)

	a.stop()
	eventually.Equal(t, "users once that node stopped", 0, online)
	if n := occupied(); n != 1 {
		t.Errorf("%d rooms within the grace, want 1", n)
	}
	b.Update(0)
	eventually.Equal(t, "rooms after the grace", 0, occupied)
}

func TestOneNodeLeadsAndAnotherTakesItsPlace(t *testing.T) {
	t.Parallel()
	a, b := pair(t, options(redistest.Start(t).URL()))
	eventually.True(t, "one leads", func() bool { return a.Status().Leads != b.Status().Leads })
	if b.Status().Leads {
		a, b = b, a
	}
	eventually.True(t, "the other leaves the reports to it",
		func() bool { return !b.Reporter() && !b.LastReporter().IsZero() })
	a.stop()
	eventually.True(t, "the other takes its place", func() bool { return b.Status().Leads && b.Reporter() })
}

func TestADefectInWhatANodeSendsIsSurvived(t *testing.T) {
	t.Parallel()
	a, b := pair(t, options(redistest.Start(t).URL()))
	b.mu.Lock()
	b.panicky = true
	b.mu.Unlock()
	a.Typing(vocabulary.NewID("c"), "1", ana, true)
	eventually.Equal(t, "the defects", "[note: a defect]", func() string {
		b.mu.Lock()
		defer b.mu.Unlock()
		return fmt.Sprint(b.defects)
	})
	a.Read(vocabulary.NewID("c"), ana, json.RawMessage("[]"))
	b.hears(`ana read [] of "c"`)
}
