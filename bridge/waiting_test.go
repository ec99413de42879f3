package bridge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// cold is a router that knows no tenant, of this many conversations, c0 of the tenant d0 and so on,
// two of each.
func cold(t *testing.T, conversations int) *route {
	t.Helper()
	tenants := make(map[string]string, conversations)
	for i := range conversations {
		tenants["c"+strconv.Itoa(i)] = "d" + strconv.Itoa(i/2)
	}
	return newRoute(t, tenants)
}

// message inserts one without waiting for it to be told.
func (r *route) message(id, conversation string) {
	r.t.Helper()
	r.waiting.take(r.t.Context(), feed.Change{Table: "messages", Action: feed.Insert,
		Row: parsed(r.t, fmt.Sprintf(`{"id":%q,"conversation_id":%q,"content":"x"}`, id, conversation))})
}

// toldOf gives where an event about a message went, "" where there was none.
func (r *route) toldOf(id string) string {
	for _, e := range r.sent {
		if e.payload["id"] == id {
			return e.rooms
		}
	}
	return ""
}

// pass lets time pass, and has told what can be told by then.
func (r *route) pass(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
	r.waiting.collect()
	synctest.Wait()
	r.waiting.collect()
}

// countOf reads a counter.
func countOf(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 1 {
		t.Fatalf("%v: %v", families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

func (d *directory) requests() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.batches)
}

// takes has each request take some time.
func takes(d time.Duration) func(context.Context, []string) error {
	return func(ctx context.Context, _ []string) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return &supabase.Error{Message: "no answer in time", Class: supabase.ClassRetry}
		}
	}
}

// unless has requests that name a conversation end as fail says, and others take 50 ms.
func unless(conversation string, fail func(context.Context) error) func(context.Context, []string) error {
	return func(ctx context.Context, ids []string) error {
		if slices.Contains(ids, conversation) {
			return fail(ctx)
		}
		return takes(50*time.Millisecond)(ctx, ids)
	}
}

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return &supabase.Error{Message: "no answer in time", Class: supabase.ClassRetry}
}

func TestAThousandNewRoomsAreAskedForTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := cold(t, 1000)
		r.tenants.before = takes(50 * time.Millisecond)
		began := time.Now()
		for i := range 1000 {
			r.message("m"+strconv.Itoa(i), "c"+strconv.Itoa(i))
		}
		r.drain()
		took, asked := time.Since(began), r.tenants.requests()
		t.Logf("%d rows took %v and %d questions", len(r.sent), took, asked)
		if took > 2*time.Second || asked > 15 || len(r.sent) != 1000 {
			t.Errorf("%d rows took %v and %d questions, want 1000 within 2 s and 15", len(r.sent), took, asked)
		}
		for i := range 1000 {
			if got, want := r.toldOf("m"+strconv.Itoa(i)), fmt.Sprintf("conversation:c%d tenant:d%d", i, i/2); got != want {
				t.Fatalf("row %d went to %q, want %q", i, got, want)
			}
		}
	})
}

func TestAQuestionThatHangsDelaysItsOwnRoomAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := cold(t, 300)
		r.tenants.before = unless("c7", hangs)
		r.change("conversations", "INSERT", `{"id":"known","distributor_id":"d"}`, "")
		r.sent = nil
		for i := range 300 {
			r.message("m"+strconv.Itoa(i), "c"+strconv.Itoa(i))
		}
		r.message("again", "c7")
		r.message("at once", "known")
		if got := r.toldOf("at once"); got != "conversation:known tenant:d" {
			t.Errorf("the known conversation's row went to %q, want it told at once", got)
		}
		r.pass(batchWait + 2*time.Second)
		if len(r.sent) != 300 {
			t.Errorf("%d rows were told after %v, want all but two of 302", len(r.sent), batchWait+2*time.Second)
		}
		r.pass(tenantWait)
		if a, b := r.toldOf("m7"), r.toldOf("again"); a != "conversation:c7" || b != a {
			t.Errorf("the rows that could not be asked for went to %q and %q, want their conversation alone", a, b)
		}
		asked := r.tenants.requests()
		r.message("remembered", "c7")
		if got := r.toldOf("remembered"); got != "conversation:c7" || r.tenants.requests() != asked {
			t.Errorf("the next row went to %q, %d questions later, want it told at once and without one", got, r.tenants.requests()-asked)
		}
		r.pass(failFor)
		r.tenants.before = nil
		r.message("later", "c7")
		r.drain()
		if got := r.toldOf("later"); got != "conversation:c7 tenant:d3" {
			t.Errorf("once it is answered again a row went to %q", got)
		}
	})
}

func TestQuestionsThatFailAreAskedAFewTimesAndRemembered(t *testing.T) {
	t.Parallel()
	answers := func(e supabase.Error) func(context.Context) error {
		return func(context.Context) error { return &e }
	}
	for name, c := range map[string]struct {
		fail      func(context.Context) error
		all       bool // every request fails so
		asked     int  // at most
		within    time.Duration
		stillToOK int // rows of other conversations that must be told with their tenant
	}{
		"500 for one":      {answers(supabase.Error{Status: 500, Class: supabase.ClassRetry}), false, 160, 2 * time.Second, 199},
		"permanent":        {answers(supabase.Error{Status: http.StatusBadRequest, Class: supabase.ClassPermanent}), false, 160, 2 * time.Second, 199},
		"all down":         {answers(supabase.Error{Status: 503, Class: supabase.ClassRetry}), true, 40, tenantWait, 0},
		"429 for all":      {answers(supabase.Error{Status: 429, Class: supabase.ClassSlow, RetryAfter: 2 * time.Second}), true, 40, tenantWait, 0},
		"429 without wait": {answers(supabase.Error{Status: 429, Class: supabase.ClassSlow}), true, 60, tenantWait, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := cold(t, 200)
				r.tenants.before = unless("c3", c.fail)
				if c.all {
					r.tenants.before = func(ctx context.Context, _ []string) error { return c.fail(ctx) }
				}
				began := time.Now()
				for i := range 200 {
					r.message("m"+strconv.Itoa(i), "c"+strconv.Itoa(i))
				}
				r.drain()
				whole := 0
				for _, e := range r.sent {
					if strings.Contains(e.rooms, "tenant:") {
						whole++
					}
				}
				took, asked := time.Since(began), r.tenants.requests()
				t.Logf("%d rows, %d with their tenant, took %v and %d questions", len(r.sent), whole, took, asked)
				if len(r.sent) != 200 || whole != c.stillToOK || took > c.within || asked > c.asked {
					t.Errorf("%d rows, %d with their tenant, took %v and %d questions, want 200 and %d within %v and %d",
						len(r.sent), whole, took, asked, c.stillToOK, c.within, c.asked)
				}
			})
		})
	}
}

func TestAnswersThatAreCutShortOrSpeltOtherwiseAreUnderstood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := cold(t, 40)
		r.waiting.asker.tenants.rows = odd{r.tenants}
		r.tenants.before = takes(time.Millisecond)
		for i := range 40 {
			r.message("m"+strconv.Itoa(i), "c"+strconv.Itoa(i))
		}
		r.message("upper", "C5")
		r.message("none", "gone")
		r.drain()
		for i := range 40 {
			if got, want := r.toldOf("m"+strconv.Itoa(i)), fmt.Sprintf("conversation:c%d tenant:d%d", i, i/2); got != want {
				t.Errorf("row %d went to %q, want %q", i, got, want)
			}
		}
		if a, b := r.toldOf("upper"), r.toldOf("none"); a != "conversation:C5 tenant:d2" || b != "conversation:gone" {
			t.Errorf("the other spelling went to %q, what does not exist to %q", a, b)
		}
	})
}

// odd is a project that answers with 7 rows at most, and takes ids for the same whatever their
// letters' case.
type odd struct{ d *directory }

func (o odd) Values(ctx context.Context, table, column, key string, ids []string) ([]supabase.Pair, error) {
	lower := make([]string, 0, len(ids))
	for _, id := range ids {
		if id = strings.ToLower(id); !slices.Contains(lower, id) {
			lower = append(lower, id)
		}
	}
	pairs, err := o.d.Values(ctx, table, column, key, lower)
	return pairs[:min(len(pairs), 7)], err
}

func TestEachRoomKeepsItsOrderWhateverIsAskedMeanwhile(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			r := cold(t, 30)
			r.tenants.before = func(ctx context.Context, ids []string) error {
				if slices.Contains(ids, "c4") {
					return hangs(ctx)
				}
				return takes(time.Duration(len(ids)*7)*time.Millisecond)(ctx, ids)
			}
			type told struct {
				n    float64
				kind vocabulary.Event
			}
			byRoom := make(map[string][]told)
			r.emit = func(to emit.Audience, o *vocabulary.Occasion) {
				if n := o.Row.Text("n"); n != "" {
					at, _ := strconv.ParseFloat(n, 64)
					for _, room := range to.Conversation {
						byRoom[room] = append(byRoom[room], told{at, o.Event})
					}
				}
			}
			r.occupied = func(string) bool { return true }
			r.moved = func(string, access.Move) func(context.Context) {
				d := time.Duration(rng.IntN(40)) * time.Millisecond
				return func(context.Context) { time.Sleep(d) }
			}
			where := make(map[string]string) // messages
			want := make(map[string][]float64)
			for n := range 600 {
				c := "c" + strconv.Itoa(rng.IntN(30))
				id := "m" + strconv.Itoa(rng.IntN(60))
				switch rng.IntN(12) {
				case 0:
					r.waiting.take(t.Context(), feed.Change{Table: "conversations", Action: feed.Update,
						Row: parsed(t, fmt.Sprintf(`{"id":%q,"distributor_id":"d%d","n":%d}`, c, rng.IntN(15), n))})
					want[c] = append(want[c], float64(n))
				case 1:
					if was := where[id]; was != "" {
						delete(where, id)
						r.waiting.take(t.Context(), feed.Change{Table: "messages", Action: feed.Delete, Old: parsed(t, fmt.Sprintf(`{"id":%q,"n":%d}`, id, n))})
						want[was] = append(want[was], float64(n))
					}
				default:
					action := feed.Update
					if where[id] == "" {
						action = feed.Insert
					}
					where[id] = c
					r.waiting.take(t.Context(), feed.Change{Table: "messages", Action: action,
						Row: parsed(t, fmt.Sprintf(`{"id":%q,"conversation_id":%q,"n":%d}`, id, c, n))})
					want[c] = append(want[c], float64(n))
				}
				if rng.IntN(10) == 0 {
					r.pass(time.Duration(rng.IntN(20)) * time.Millisecond)
				}
			}
			r.drain()
			if len(r.waiting.queues) > 0 || r.waiting.bytes != 0 {
				t.Errorf("%d queues and %d bytes are left", len(r.waiting.queues), r.waiting.bytes)
			}
			for c, list := range want {
				var got []float64
				for _, e := range byRoom["conversation:"+c] {
					got = append(got, e.n)
				}
				if !slices.Equal(got, list) {
					t.Fatalf("seed %d: room %s got %v, want %v", seed, c, got, list)
				}
			}
		})
	}
}

func TestWhereTooMuchWaitsAllWaitAndNothingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := cold(t, 2)
		r.tenants.before = func(ctx context.Context, _ []string) error { return hangs(ctx) }
		began := time.Now()
		for i := range maxWaiting + 1 {
			r.message("m"+strconv.Itoa(i), "c0")
		}
		if took := time.Since(began); took == 0 || took > tenantWait {
			t.Errorf("the bound held everything up for %v, want some time and no more than %v", took, tenantWait)
		}
		if full := countOf(t, r.waiting.full); full != 1 {
			t.Errorf("it was counted %v times, want once", full)
		}
		r.drain()
		if len(r.sent) != maxWaiting+1 {
			t.Errorf("%d rows were told, want %d", len(r.sent), maxWaiting+1)
		}
	})
}

func TestWhatWaitsAtTheEndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := cold(t, 10)
		r.tenants.before = func(ctx context.Context, _ []string) error { return hangs(ctx) }
		ctx, cancel := context.WithCancel(t.Context())
		r.moved = func(string, access.Move) func(context.Context) { return func(ctx context.Context) { <-ctx.Done() } }
		r.router.tenants.learn("c9", "d9")
		for i := range 20 {
			c := "c" + strconv.Itoa(i%10)
			if i == 9 {
				r.waiting.take(ctx, feed.Change{Table: "conversations", Action: feed.Update, Row: parsed(t, `{"id":"c9","distributor_id":"d1"}`)})
			}
			r.message("m"+strconv.Itoa(i), c)
		}
		cancel()
		r.waiting.end()
		if len(r.sent) != 23 || r.waiting.count != 0 {
			t.Errorf("%d events were told and %d changes wait, want 23 and none", len(r.sent), r.waiting.count)
		}
	})
}

func TestAChangeWaitsUntilItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := cold(t, 1)
		deliver, told := r.waiting.deliver, 0
		r.waiting.deliver = func(ctx context.Context, c feed.Change) {
			if told++; r.waiting.count == 0 { // whether all was passed on goes by that: holds.settled
				t.Errorf("nothing waits any more while change %d is told", told)
			}
			deliver(ctx, c)
		}
		r.message("m0", "c0")
		r.message("m1", "c0")
		r.drain()
		if told != 2 || r.waiting.count != 0 || r.waiting.bytes != 0 {
			t.Errorf("%d told, %d wait with %d bytes, want 2 and none", told, r.waiting.count, r.waiting.bytes)
		}
	})
}
