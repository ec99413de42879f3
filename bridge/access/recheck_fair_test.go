package access_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/access"
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

// running runs a Rechecker until stop is called.
func running(t *testing.T, r *guard) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	return func() { cancel(); <-done }
}

// renew gives a session another token of the same user.
func (r *guard) renew(s *session, token string) {
	who := *s.Identity()
	who.Token = token
	s.who.Store(&who)
	r.Recheck(s)
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
				var busy []*session
				for i := range test.users {
					for range test.sockets {
						busy = append(busy, r.add(fmt.Sprint("busy ", i), "c1"))
					}
				}
				began := time.Now()
				stop := running(t, r)
				for second := range 120 {
					for i, c := range busy {
						r.renew(c, fmt.Sprint("busy token ", second, " ", i))
					}
					for range test.moves {
						r.ConversationMoved("moving", access.MoveLater)(t.Context())
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
		var busy []*session
		for i := range 30 {
			c := r.add("busy", "c1")
			r.renew(c, fmt.Sprint("busy at first ", i))
			busy = append(busy, c)
		}
		defer running(t, r)()
		const seconds = 100
		for second := range seconds {
			for i, c := range busy {
				r.renew(c, fmt.Sprint("busy ", second, " ", i))
			}
			token := fmt.Sprint("other ", second)
			other := r.add(token, "c1")
			r.renew(other, token+" renewed")
			time.Sleep(time.Second)
			if n := p.of(token + " renewed"); n != 1 {
				t.Fatalf("second %d: another user was asked about %d times within a second, want once", second, n)
			}
			r.Forget(other)
		}
		if n, most := p.of("busy"), seconds*50/10+4+1; n > most || n < most/2 {
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
		sessions := make(map[string]*session)
		for i := range 40 {
			users = append(users, fmt.Sprint("member ", i))
			sessions[users[i]] = r.add(users[i], "c1")
		}
		began := time.Now()
		stop := running(t, r)
		for round := range 200 {
			var guests []*session
			for i := range 10 * (round % 7) {
				guests = append(guests, r.add(fmt.Sprint("guest ", round, " ", i), "c1"))
			}
			// One that loses its connection and is recovered does not begin anew.
			user := users[round%len(users)]
			before := sessions[user]
			r.Forget(before)
			time.Sleep(3 * time.Second)
			back := newSession(before.Identity(), "c1")
			r.TakeOver(back, before)
			r.Watch(back)
			sessions[user] = back
			time.Sleep(2 * time.Second)
			for _, c := range guests {
				r.Forget(c)
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
