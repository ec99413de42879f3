package bridge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// appRoute is the application's route that says who may enter a room.
type appRoute struct {
	may   atomic.Bool
	asked atomic.Int32
}

// behindAppRoute is a world in which the application alone says who may enter, and in which nobody
// is asked about by the timer: only a join or a recovery can notice that a right has ended.
func behindAppRoute(t *testing.T, change func(*config.Config)) (*world, *appRoute) {
	t.Helper()
	app := &appRoute{}
	app.may.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		app.asked.Add(1)
		fmt.Fprintf(w, `{"allow":%t}`, app.may.Load())
	}))
	t.Cleanup(server.Close)
	return newWorld(t, func(cfg *config.Config) {
		cfg.Rooms.Conversation.Rules = []string{"callback"}
		a := &cfg.Rooms.Authorization
		a.Callback.URL, a.Callback.Secret = server.URL, callbackSecret
		a.RecheckEvery = 0
		if change != nil {
			change(cfg)
		}
	}), app
}

// fill writes rows into a conversation in one transaction.
func (w *world) fill(conversation string, rows int) {
	w.t.Helper()
	w.inside(func(tx *standin.Tx) error {
		for i := range rows {
			row := map[string]any{"conversation_id": conversation, "content": fmt.Sprint(i)}
			if _, err := tx.Insert("messages", row); err != nil {
				return err
			}
		}
		return nil
	})
}

// silence has Realtime bring no change any more, so that only a question can show that a
// conversation has moved.
func (w *world) silence() {
	w.t.Helper()
	if _, err := w.project.Realtime().Inject(phxserver.Fault{Action: phxserver.Stall}); err != nil {
		w.t.Fatal(err)
	}
}

// count gives how many events of a name have come by now. What was sent before must have been
// awaited.
func (b *browser) count(name string) int {
	n := 0
	for b.heard(name) {
		b.event(name)
		n++
	}
	return n
}

func TestAJoinWithSinceReadsNothingOutOfAConversationThatMovedUnnoticed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ remembered, moveWhileItReads bool }{
		"a yes is remembered":                      {remembered: true},
		"a yes is remembered, and it moves midway": {remembered: true, moveWhileItReads: true},
		"it moves while it is read":                {moveWhileItReads: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			ana := w.as(anaID)
			first := w.write(bakery, "seen")
			seen := w.rest("GET", "messages?id=eq."+first, "")[0]
			if test.remembered {
				ana.must("join_conversation", bakery)
				ana.must("leave_conversation", bakery)
			}
			w.silence()
			w.fill(bakery, 30)
			move := func() {
				w.rest("PATCH", "conversations?id=eq."+bakery, `{"distributor_id":"`+alpine+`"}`)
				w.fill(bakery, 50)
			}
			var read *held
			if test.moveWhileItReads {
				read = w.hold(isSinceRead)
				go func() {
					<-read.reached
					move()
					close(read.open)
				}()
			} else {
				move()
			}
			o := ana.try("join_conversation", map[string]any{"conversationId": bakery, "since": seen})
			ana.sync()
			if n := ana.count("new_message"); n > 0 || o.Success || o.Code != "forbidden" {
				t.Errorf("%d rows of a conversation that is another tenant's were shown, and the join gave %+v; "+
					"want none, and forbidden", n, o)
			}
			if o := ana.try("typing_start", bakery); o.Code != "not_joined" {
				t.Errorf("typing afterwards: %+v, want not_joined", o)
			}
		})
	}
}

func TestAJoinWithSinceIsDecidedByTheRulesAsTheyAnswerNow(t *testing.T) {
	t.Parallel()
	w, app := behindAppRoute(t, nil)
	ana := w.as(anaID)
	first := w.write(bakery, "seen")
	seen := w.rest("GET", "messages?id=eq."+first, "")[0]
	ana.must("join_conversation", bakery)
	w.write(bakery, "while it may")
	for ana.event("new_message")["content"] != "while it may" { // the row from before the join may be on its way still
	}
	app.may.Store(false)
	// It is in the room already: the join must take it out.
	o := ana.try("join_conversation", map[string]any{"conversationId": bakery, "since": seen})
	ana.sync()
	if n := ana.count("new_message"); n > 0 || o.Code != "forbidden" {
		t.Errorf("%d rows were read out to a user whose right is withdrawn, and the join gave %+v; want forbidden", n, o)
	}
	w.write(bakery, "not for ana")
	dora := w.as(anaID) // the same user by another socket
	if o := dora.try("join_conversation", bakery); o.Code != "forbidden" {
		t.Errorf("a join afterwards: %+v, though the answer from before must not count", o)
	}
	if o := ana.try("typing_start", bakery); o.Code != "not_joined" {
		t.Errorf("typing afterwards: %+v, want not_joined", o)
	}
}

func TestARecoveredSocketGetsNothingThatWasSentAfterItsRightEnded(t *testing.T) {
	t.Parallel()
	for name, closed := range map[string]bool{"its connection was lost": true, "its connection is there yet": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, app := behindAppRoute(t, nil)
			ana, ben := w.as(anaID), w.as(benID)
			for _, b := range []*browser{ana, ben} {
				b.must("join_conversation", bakery)
			}
			w.write(bakery, "before")
			ana.event("new_message")
			ben.event("new_message")
			if closed {
				socket := w.bridge.spaces[0].Socket(ana.sid)
				ana.conn.Close()
				<-socket.Context().Done()
			}
			app.may.Store(false)
			const rows = 20
			for range rows {
				w.write(bakery, "after the right has ended")
				ben.event("new_message") // so that it was sent to the room
			}
			offset := ana.offset
			back := connect(t, w.address, map[string]string{"token": w.token(anaID), "pid": ana.pid, "offset": offset})
			back.sync()
			if n := back.count("new_message"); n > 0 || back.pid == ana.pid {
				t.Errorf("%d of %d rows sent after the right had ended were handed over; got its session back: %t; "+
					"want none and a new session", n, rows, back.pid == ana.pid)
			}
		})
	}
}

func TestASocketIsNotRecoveredByAnAnswerFromBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	w.write(bakery, "before")
	ana.event("new_message")
	ana.conn.Close()
	read := w.hold(func(r *http.Request) bool {
		return r.URL.Path == "/rest/v1/conversations" && strings.Contains(r.URL.RawQuery, "id=eq.")
	})
	back := make(chan *browser, 1)
	go func() {
		b, _ := open(t, w.address, map[string]string{"token": w.token(anaID), "pid": ana.pid, "offset": ana.offset})
		back <- b
	}()
	var again *browser
	select {
	case <-read.reached:
		w.silence()
		w.rest("PATCH", "conversations?id=eq."+bakery, `{"distributor_id":"`+alpine+`"}`) // before it is answered
		close(read.open)
		again = <-back
	case again = <-back:
	}
	if again == nil || again.pid == ana.pid {
		t.Error("the socket got its session back, by an answer from before it was asked for")
	}
}
