package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// rooms is a database whose rows are in rooms, and in which reading some rows by their key hangs or
// takes long.
type rooms struct {
	*database
	mu    sync.Mutex
	rows  map[string]string        // whole records
	takes map[string]time.Duration // to read a row by its key; negative: it hangs
	most  int                      // requests by key at once so far
	now   int
}

func (r *rooms) Row(ctx context.Context, _, _, id string) (json.RawMessage, bool, error) {
	r.mu.Lock()
	record, ok := r.rows[id]
	wait := r.takes[id]
	r.now++
	r.most = max(r.most, r.now)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.now--
		r.mu.Unlock()
	}()
	if wait < 0 {
		wait = time.Hour
	}
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case <-time.After(wait):
	}
	return json.RawMessage(record), ok, nil
}

// whole gives a row.
func (r *rooms) whole(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rows[id]
}

// put commits a row and gives its change; a large one comes without its body.
func (r *rooms) put(id, room string, large bool) *phoenix.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.database.put(id)
	part := strings.Replace(string(c.Record), `{"id"`, fmt.Sprintf(`{"room":%q,"id"`, room), 1)
	r.rows[id] = part
	if large {
		part = strings.Replace(part, `,"body":"b"`, "", 1)
	}
	c.Record, c.Columns = json.RawMessage(part), append(c.Columns, phoenix.Column{Name: "room", Type: "text"})
	return c
}

func inRooms(t *testing.T, test func(*bench, *rooms)) {
	var r *rooms
	run(t, func(o *Options) {
		r = &rooms{database: o.Reader.(*database), rows: map[string]string{}, takes: map[string]time.Duration{}}
		o.Reader, o.Tables[0].Group = r, "room"
		o.Interval, o.Stall = time.Hour, time.Hour
	}, func(b *bench) { test(b, r) })
}

func TestReadingAnIncompleteRowDelaysItsRoomAlone(t *testing.T) {
	inRooms(t, func(b *bench, r *rooms) {
		b.goLive()
		r.takes["large"], r.takes["slow"] = -1, time.Second
		b.hear(r.put("large", "r1", true), r.put("behind", "r1", false), r.put("slow", "r2", true), r.put("after", "r2", false), r.put("other", "r3", false))
		b.expect("INSERT other")
		b.feed.Do(context.Background(), func() {
			if b.feed.Settled(time.Now().Add(-time.Hour), time.Time{}) {
				t.Error("all is said to have been passed on while something waits")
			}
			if !b.feed.Mark().Began.IsZero() {
				t.Error("those that are led are told that all was passed on while something waits")
			}
		})
		if passed, err := b.feed.Offer(context.Background(), "messages", Insert, json.RawMessage(r.whole("behind"))); passed || err != nil {
			t.Errorf("an offer overtook what waits: %v %v", passed, err)
		}
		time.Sleep(time.Millisecond)
		b.hear(r.put("behind", "r1", false)) // the same row again: an update
		time.Sleep(time.Second)
		b.expect("INSERT slow", "INSERT after")
		time.Sleep(rereadWait)
		b.seen(func() {
			if want := []string{"INSERT behind", "UPDATE behind"}; len(b.told) < 2 || !slices.Equal(b.told[:2], want) {
				t.Errorf("told %q once the question had failed, want %q first", b.told, want)
			}
		})
		b.seen(func() { b.told = nil })
		time.Sleep(settleWait)
		b.seen(func() {
			if !slices.Contains(b.told, "INSERT large found") {
				t.Errorf("told %q, want the row that could not be read found by the next read", b.told)
			}
		})
	})
}

func TestWhatIsReadLateDoesNotUndoWhatWasReadMeanwhile(t *testing.T) {
	inRooms(t, func(b *bench, r *rooms) {
		b.goLive()
		r.takes["a"] = 3 * time.Second
		b.hear(r.put("a", "r1", true))
		time.Sleep(time.Second)
		r.put("a", "r1", false)                                  // committed, and lost
		b.hear(&phoenix.Gap{Since: time.Now()}, &phoenix.Live{}) // a read begins, and is answered before
		time.Sleep(5 * time.Second)
		b.seen(func() {
			if len(b.told) == 0 || strings.Contains(strings.Join(b.told[1:], " "), "INSERT a") {
				t.Errorf("told %q, want it inserted once", b.told)
			}
		})
	})
}

func TestEachRoomKeepsItsOrderWhateverIsReadByKey(t *testing.T) {
	for seed := range uint64(10) {
		inRooms(t, func(b *bench, r *rooms) {
			rng := rand.New(rand.NewPCG(seed, 7))
			b.goLive()
			want := make(map[string][]string)
			for i := range 400 {
				id, room := "m"+strconv.Itoa(i), "r"+strconv.Itoa(rng.IntN(8))
				large := rng.IntN(4) == 0
				r.mu.Lock()
				r.takes[id] = time.Duration(rng.IntN(300)) * time.Millisecond
				r.mu.Unlock()
				b.hear(r.put(id, room, large))
				want[room] = append(want[room], id)
				if rng.IntN(5) == 0 {
					time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			got := make(map[string][]string)
			b.seen(func() {
				for _, told := range b.told {
					id := strings.Fields(told)[1]
					var whole struct{ Room string }
					if err := json.Unmarshal([]byte(r.rows[id]), &whole); err != nil {
						t.Fatal(err)
					}
					got[whole.Room] = append(got[whole.Room], id)
				}
			})
			for room, list := range want {
				if !slices.Equal(got[room], list) {
					t.Errorf("seed %d: room %s got %q, want %q", seed, room, got[room], list)
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.most > maxRereads {
				t.Errorf("%d rows were read at once, want %d at most", r.most, maxRereads)
			}
		})
	}
}

func TestWhatWaitsForAReadIsPassedOnAtTheEnd(t *testing.T) {
	var end *bench
	inRooms(t, func(b *bench, r *rooms) {
		b.goLive()
		for i := range 20 {
			id := strconv.Itoa(i)
			r.mu.Lock()
			r.takes["l"+id] = -1
			r.mu.Unlock()
			b.hear(r.put("l"+id, "r"+id, true), r.put("b"+id, "r"+id, false))
		}
		b.expect()
		end = b
	})
	slices.Sort(end.told)
	if len(end.told) != 20 || end.told[0] != "INSERT b0" {
		t.Errorf("told %q at the end, want the 20 rows that waited behind others", end.told)
	}
}

func TestARowThatCouldNotBeReadAndThatNoReadFindsIsReadAgain(t *testing.T) {
	inRooms(t, func(b *bench, r *rooms) {
		b.goLive()
		b.hear(r.put("a", "r1", false))
		b.expect("INSERT a")
		time.Sleep(time.Hour)
		r.mu.Lock()
		r.takes["a"] = -1 // REST hangs
		version := r.database.rows["a"]
		c := r.database.set("a", version, version) // an update that leaves its time as it was
		whole := strings.Replace(string(c.Record), `{"id"`, `{"room":"r1","id"`, 1)
		r.rows["a"] = strings.Replace(whole, `"b"`, `"new"`, 1)
		c.Record = json.RawMessage(strings.Replace(whole, `,"body":"b"`, "", 1))
		c.Columns = append(c.Columns, phoenix.Column{Name: "room", Type: "text"})
		r.mu.Unlock()
		b.hear(c)
		for range 3 {
			time.Sleep(2 * rereadWait)
			b.expect()
			if b.settled(time.Now().Add(-time.Hour), time.Now().Add(-time.Hour)) {
				t.Error("all is said to have been passed on while a row has to be read yet")
			}
		}
		r.mu.Lock()
		r.takes["a"] = 0
		r.mu.Unlock()
		time.Sleep(retryMax + rereadWait)
		b.expect("UPDATE a")
		time.Sleep(time.Hour)
		b.expect()
		b.must(b.feed.Do(b.t.Context(), func() {
			if q := &b.feed.rereads; q.count != 0 || q.bytes != 0 || len(q.failed) != 0 {
				t.Errorf("%d wait with %d bytes, %d are to be read again, want none", q.count, q.bytes, len(q.failed))
			}
		}))
	})
}
