package bridge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supabridge/supabridge/config"
)

const callbackSecret = "a secret of the callback"

func TestATokenThatIsSentAgainIsNoNewOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	token := w.token(anaID)
	ana := connect(t, w.address, map[string]string{"token": token})
	ana.must("join_conversation", bakery)
	for range 10 {
		ana.must("access_token", map[string]string{"token": token})
	}
	ana.must("access_token", map[string]string{"token": tokenOfTenant(t, anaID, alpine)})
	// After all that was to be asked before.
	w.awaitMetric(`supabridge_rights_checked_total{reason="token",result="lost"} 1`)
	for line := range strings.Lines(w.exposition()) {
		kept, is := strings.CutPrefix(line, `supabridge_rights_checked_total{reason="token",result="kept"} `)
		if n, _ := strconv.Atoi(strings.TrimSpace(kept)); is && n > 1 { // the tenant that the other token names
			t.Errorf("%d rooms were asked about, though the token was the same", n)
		}
	}
}

// doorkeeper is an application that decides by callback, and may keep a question waiting.
type doorkeeper struct {
	mu       sync.Mutex
	open     bool
	asked    int
	question func() // called with each question about a conversation, before the answer; may be nil
}

func (d *doorkeeper) set(open bool, question func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open, d.question, d.asked = open, question, 0
}

func (d *doorkeeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q struct{ Room struct{ Kind string } }
	if json.NewDecoder(r.Body).Decode(&q) != nil || q.Room.Kind != "conversation" {
		fmt.Fprint(w, `{"allow":true}`)
		return
	}
	d.mu.Lock()
	open, question := d.open, d.question
	d.asked++
	d.mu.Unlock()
	if question != nil {
		question()
	}
	fmt.Fprintf(w, `{"allow":%t}`, open)
}

func keptBy(t *testing.T, d *doorkeeper) *world {
	t.Helper()
	app := httptest.NewServer(d)
	t.Cleanup(app.Close)
	return newWorld(t, func(cfg *config.Config) {
		cfg.Rooms.Conversation.Rules = []string{"callback"}
		a := &cfg.Rooms.Authorization
		a.Callback.URL, a.Callback.Secret, a.Callback.Timeout = app.URL, callbackSecret, patience
		a.RecheckEvery, a.RecheckRate = 0, 1000 // no timer mends what an eviction leaves
		cfg.Limits.Socket.Events = nil
	})
}

func TestARightIsTakenFromTheClientThatRecoveryPutInPlace(t *testing.T) {
	t.Parallel()
	for name, settled := range map[string]bool{"before the answer": true, "while the answer comes": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			evictWhileRecovering(t, settled)
		})
	}
}

// evictWhileRecovering has sockets recovered, some of them several times, while the question
// whether they may stay is under way; settled has the recovery complete before the answer, which is
// no.
func evictWhileRecovering(t *testing.T, settled bool) {
	d := &doorkeeper{open: true}
	w := keptBy(t, d)
	ben := w.as(benID)
	ben.must("join_conversation", bakery)
	able := 0
	const sockets = 12
	for i := range sockets {
		d.set(true, nil)
		ana := w.as(anaID)
		ana.must("join_conversation", bakery)
		w.write(bakery, fmt.Sprint("seen ", i))
		ana.event("new_message")

		reached, release := make(chan struct{}), make(chan struct{})
		var once sync.Once
		d.set(false, func() {
			once.Do(func() { close(reached); <-release; d.set(false, nil) })
		})
		token := tokenOfTenant(t, anaID, fmt.Sprint("tenant ", i))
		ana.must("access_token", map[string]string{"token": token}) // raises the question
		w.wait("the question", reached)
		back := ana
		for range 1 + i%3 {
			if i%2 == 0 {
				back.conn.Close()
			}
			back = connect(t, w.address, map[string]string{"token": token, "pid": back.pid, "offset": ana.offset})
			if settled {
				back.sync()
			}
		}
		close(release)
		w.becomes("find the right lost", func() bool {
			return strings.Count(w.log.String(), `"message":"right lost"`) > i
		})
		for _, event := range []string{"typing_start", "mark_read"} {
			if back.may(event, bakery) {
				able++
			}
		}
		w.write(bakery, fmt.Sprint("not for ana ", i))
		for ben.event("new_message")["content"] != fmt.Sprint("not for ana ", i) {
		}
		back.may("heartbeat")
		for _, p := range back.held {
			if strings.Contains(p, "not for ana") {
				t.Errorf("socket %d got %s", i, p)
			}
		}
		back.conn.Close()
	}
	if able > 0 {
		t.Errorf("%d times an evicted socket could type or mark as read, of %d", able, 2*sockets)
	}
}

// may reports whether an event succeeds; not where the connection has been closed.
func (b *browser) may(name string, args ...any) bool {
	b.t.Helper()
	b.acks++
	text, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		b.t.Fatal(err)
	}
	_ = b.send(fmt.Sprintf("42%d%s", b.acks, text)) // where it is closed no answer comes
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case p, open := <-b.packets:
			if !open {
				return false
			}
			if answer, is := strings.CutPrefix(p, fmt.Sprintf("3%d", b.acks)); is {
				return strings.Contains(answer, `"success":true`)
			}
			b.held = append(b.held, p)
		case <-timeout.C:
			b.t.Fatalf("%s was not answered", name)
		}
	}
}

func TestWhoRenewsATokenFasterThanItIsAskedAboutIsHeldToTheLast(t *testing.T) {
	t.Parallel()
	d := &doorkeeper{open: true}
	w := keptBy(t, d)
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	const renewals = 12
	renew := make(chan chan struct{})
	n := 0 // of the questions: they come one after another
	d.set(false, func() {
		if n++; n <= renewals {
			renewed := make(chan struct{})
			renew <- renewed
			<-renewed
		}
	})
	next := func() map[string]string {
		return map[string]string{"token": tokenOfTenant(t, anaID, fmt.Sprint("tenant ", time.Now().UnixNano()))}
	}
	ana.must("access_token", next())
	for {
		select {
		case renewed := <-renew:
			ana.must("access_token", next())
			close(renewed)
			continue
		case p := <-ana.packets:
			ana.held = append(ana.held, p)
			if !strings.Contains(p, "access_lost") {
				continue
			}
		case <-time.After(patience):
			t.Fatal("the right was never lost")
		}
		break
	}
	d.mu.Lock()
	asked := d.asked
	d.mu.Unlock()
	if most := 2 * 3; asked > most { // three for each room: a refusal is asked about again twice
		t.Errorf("%d questions until the right was lost, want at most %d whatever the client renews", asked, most)
	}
	go func() { // those that are still under way
		for renewed := range renew {
			close(renewed)
		}
	}()
	d.set(false, nil)
	if o := ana.try("typing_start", bakery); o.Code != "not_joined" {
		t.Errorf("typing afterwards: %+v", o)
	}
	w.t.Cleanup(func() { close(renew) })
}
