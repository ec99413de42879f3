package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/config"
)

// asking answers yes after a while and keeps who was asked about when.
type asking struct {
	policy
	takes time.Duration

	mu sync.Mutex
	at map[string][]time.Time // by token
}

func (a *asking) VisibleTo(_ context.Context, token, _, _ string, ids []string) ([]string, error) {
	time.Sleep(a.takes) // of a fake clock
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = make(map[string][]time.Time)
	}
	a.at[token] = append(a.at[token], time.Now())
	return ids, nil
}

// of gives how often it was asked with tokens that begin in a way.
func (a *asking) of(prefix string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for token, at := range a.at {
		if strings.HasPrefix(token, prefix) {
			n += len(at)
		}
	}
	return n
}

// late counts the users that were not asked about for longer than a bound at some time between two.
func (a *asking) late(users []string, from, to time.Time, bound time.Duration) (late int, longest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, user := range users {
		last, worst := from, time.Duration(0)
		for _, at := range append(a.at[user], to) {
			worst = max(worst, at.Sub(last))
			last = at
		}
		if longest = max(longest, worst); worst > bound {
			late++
		}
	}
	return late, longest
}

// running runs a rechecker until the test ends.
func running(t *testing.T, r *rechecker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.run(ctx) }()
	return func() { cancel(); <-done }
}

// renew gives a client another token of the same user.
func (c *client) renew(token string) {
	who := *c.identity.Load()
	who.Token = token
	c.become(&who)
	c.b.rechecker.doubt(c)
}

func TestNobodysRightsWaitForThoseWhoRenewTheirTokens(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		users, sockets int // that renew their tokens once a second
		moves          int // conversations that move each second, with twenty users in each
	}{
		{"one user with thirty sockets", 1, 30, 0},
		{"twenty users with thirty sockets", 20, 30, 0},
		{"two hundred users", 200, 1, 0},
		{"one user, and conversations that move", 1, 30, 5},
		{"conversations that move", 0, 0, 50},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const every = 20 * time.Second
				p := &asking{takes: 5 * time.Millisecond}
				r := guarded(t, p, func(cfg *config.Config) {
					cfg.Rooms.Authorization.RecheckEvery, cfg.Rooms.Authorization.RecheckRate = every, 100
				})
				var users []string
				for i := range 40 {
					users = append(users, fmt.Sprint("member ", i))
					r.add(users[i], "c1")
				}
				for i := range 20 {
					r.add(fmt.Sprint("elsewhere ", i), "moving")
				}
				var busy []*client
				for i := range test.users {
					for range test.sockets {
						busy = append(busy, r.add(fmt.Sprint("busy ", i), "c1"))
					}
				}
				began := time.Now()
				stop := running(t, r)
				for second := range 120 {
					for i, c := range busy {
						c.renew(fmt.Sprint("busy token ", second, " ", i))
					}
					for range test.moves {
						r.conversationMoved("moving", moveLater)(t.Context())
						time.Sleep(time.Second / 100)
					}
					time.Sleep(time.Second - time.Duration(test.moves)*time.Second/100)
				}
				stop()
				if late, longest := p.late(users, began, time.Now(), every); late > 0 {
					t.Errorf("%d of %d users were not asked about within %s, but once for %s; "+
						"%d questions about renewed tokens, %d about those in a conversation that moved",
						late, len(users), every, longest, p.of("busy"), p.of("elsewhere"))
				}
			})
		})
	}
}

func TestTheDoubtsAboutAUserCostThatUserOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &asking{takes: 5 * time.Millisecond}
		r := guarded(t, p, func(cfg *config.Config) {
			cfg.Rooms.Authorization.RecheckEvery, cfg.Rooms.Authorization.RecheckRate = 0, 50
		})
		var busy []*client
		for i := range 30 {
			c := r.add("busy", "c1")
			c.renew(fmt.Sprint("busy at first ", i))
			busy = append(busy, c)
		}
		defer running(t, r)()
		const seconds = 100
		for second := range seconds {
			for i, c := range busy {
				c.renew(fmt.Sprint("busy ", second, " ", i))
			}
			token := fmt.Sprint("other ", second)
			other := r.add(token, "c1")
			other.renew(token + " renewed")
			time.Sleep(time.Second)
			if n := p.of(token + " renewed"); n != 1 {
				t.Fatalf("second %d: another user was asked about %d times within a second, want once", second, n)
			}
			r.forget(other)
		}
		if n, most := p.of("busy"), seconds*50/doubtShare+doubtBurst+1; n > most || n < most/2 {
			t.Errorf("%d questions about one user's tokens in %d s, want at most %d, a tenth of the rate, "+
				"and no fewer than needed", n, seconds, most)
		}
	})
}

func TestEverybodyIsAskedAboutWithinTheIntervalWhoeverComesAndGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const every = 100 * time.Second
		p := &asking{takes: 20 * time.Millisecond}
		r := guarded(t, p, func(cfg *config.Config) { cfg.Rooms.Authorization.RecheckEvery = every })
		var users []string
		clients := make(map[string]*client)
		for i := range 40 {
			users = append(users, fmt.Sprint("member ", i))
			clients[users[i]] = r.add(users[i], "c1")
		}
		began := time.Now()
		stop := running(t, r)
		for round := range 200 {
			var guests []*client
			for i := range 10 * (round % 7) {
				guests = append(guests, r.add(fmt.Sprint("guest ", round, " ", i), "c1"))
			}
			// One that loses its connection and is recovered does not begin anew.
			user := users[round%len(users)]
			before := clients[user]
			r.forget(before)
			time.Sleep(3 * time.Second)
			back := &client{b: r.b}
			back.become(before.identity.Load())
			before.conversations.remove("c1") // this one has no socket to look at
			if !back.takeOver(before) {
				t.Fatal("a right was lost")
			}
			back.conversations.add("c1", "c1")
			r.watch(back)
			clients[user] = back
			time.Sleep(2 * time.Second)
			for _, c := range guests {
				r.forget(c)
			}
		}
		stop()
		if late, longest := p.late(users, began, time.Now(), every); late > 0 {
			t.Errorf("%d of %d users were not asked about within %s, but once for %s", late, len(users), every, longest)
		}
		if n, most := p.of(""), 110*1000/75; n > most { // as many as if all who ever were here at once had stayed
			t.Errorf("%d questions in 1000 s, want at most %d", n, most)
		}
	})
}

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
	var q callbackQuestion
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

// evictWhileRecovering has sockets recovered, some of them several times, while the question whether
// they may stay is under way; settled has the recovery complete before the answer, which is no.
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
	if most := 2 * (maxRenewed + 1); asked > most {
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
