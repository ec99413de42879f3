package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/supabridge/supabridge/bridge/auth"
)

// A remembered answer lets a session into a room, where the Rechecker looks after it. It must never
// be the reason for which rows are handed over that were written before: the right may have ended
// since, and nobody has noticed. Rows that a join with since has read, and what was sent to a
// session while it was away, go out only after the rules have been asked anew.

// fresh asks the rules anew, whatever is remembered. For one token and one kind of room one
// question is under way at a time. Questions that come meanwhile are put together into the next
// one, so that a user with many sockets multiplies nothing. The mutex guards what is below it. Each
// question has a goroutine, which ends with it; close waits for all of them.
type fresh struct {
	a     *Authorizer
	slots chan struct{} // held by each question under way
	over  context.Context
	end   context.CancelFunc
	all   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	asking map[askedBy]*freshQuestion // the question under way, or about to be
}

// maxFresh bounds the fresh questions that are under way at once, for the process.
const maxFresh = 32

type askedBy struct {
	token [sha256.Size]byte
	kind  RoomKind
}

// freshQuestion is one question about some rooms. All but next is immutable once done is closed;
// the fresh's mutex guards ids and next until the question begins.
type freshQuestion struct {
	who  *auth.Identity
	ids  []string
	next *freshQuestion // of those that came after this one had begun
	done chan struct{}

	open  map[string]bool // the rooms it is known of
	epoch uint64          // in which it was asked
	err   error           // why it is not known of the others
}

func newFresh(a *Authorizer) *fresh {
	f := &fresh{a: a, slots: make(chan struct{}, maxFresh), asking: make(map[askedBy]*freshQuestion)}
	f.over, f.end = context.WithCancel(context.Background())
	return f
}

// close ends the questions under way and waits for them.
func (f *fresh) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.end()
	f.all.Wait()
}

// errNotAsked says that the question did not go out, since the bridge is stopping.
var errNotAsked = errors.New("the bridge is stopping")

// AskFresh reports which of some rooms a user may be in, by an answer that was asked for after
// AskFresh was called. The ids must be as stored. epoch is the one in which it was asked. An error
// means that it could not be found out: nothing may be handed over then.
func (a *Authorizer) AskFresh(
	ctx context.Context, who *auth.Identity, kind RoomKind, ids []string,
) (open map[string]bool, epoch uint64, err error) {
	return a.fresh.ask(ctx, who, kind, ids)
}

// ask is AskFresh.
func (f *fresh) ask(
	ctx context.Context, who *auth.Identity, kind RoomKind, ids []string,
) (map[string]bool, uint64, error) {
	if may, known := f.a.free(who); known {
		open, epoch := make(map[string]bool, len(ids)), f.a.Epoch()
		for _, id := range ids {
			open[id] = may
		}
		return open, epoch, nil
	}
	q := f.join(askedBy{sha256.Sum256([]byte(who.Token)), kind}, who, ids)
	if q == nil {
		return nil, 0, errNotAsked
	}
	select {
	case <-q.done:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	for _, id := range ids {
		if _, known := q.open[id]; !known {
			return nil, 0, q.err
		}
	}
	return q.open, q.epoch, nil
}

// join adds rooms to the next question of a token; nil where there is none any more.
func (f *fresh) join(by askedBy, who *auth.Identity, ids []string) *freshQuestion {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	first := f.asking[by]
	if first == nil {
		q := &freshQuestion{who: who, ids: ids, done: make(chan struct{})}
		f.asking[by] = q
		f.all.Go(func() { f.run(by, q) })
		return q
	}
	if first.next == nil {
		first.next = &freshQuestion{who: who, done: make(chan struct{})}
	}
	q := first.next
	for _, id := range ids {
		if !slices.Contains(q.ids, id) {
			q.ids = append(q.ids[:len(q.ids):len(q.ids)], id)
		}
	}
	return q
}

// run puts a question, and then those that have come meanwhile, until there is none.
func (f *fresh) run(by askedBy, q *freshQuestion) {
	for q != nil {
		f.put(by.kind, q)
		close(q.done)
		f.mu.Lock()
		if q = q.next; q == nil {
			delete(f.asking, by)
		} else {
			f.asking[by] = q
		}
		f.mu.Unlock()
	}
}

// put asks the rules about the rooms of a question.
func (f *fresh) put(kind RoomKind, q *freshQuestion) {
	ctx, cancel := context.WithTimeout(f.over, f.a.settings.Load().FreshTimeout)
	defer cancel()
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		q.err = fmt.Errorf("%d questions about rights are under way: %w", maxFresh, ctx.Err())
		return
	}
	q.epoch = f.a.Epoch()
	in := &inquiry{who: q.who, kind: kind, tenants: f.byTenant()}
	found, err := f.a.decide(ctx, in, q.ids)
	token := sha256.Sum256([]byte(q.who.Token))
	q.err, q.open = err, make(map[string]bool, len(q.ids))
	for _, id := range q.ids {
		if asStored := found[id]; asStored != "" || err == nil {
			q.open[id] = asStored != ""
			f.a.remember(question{token, Room{kind, id}}, asStored, q.who.Expires, q.epoch)
		}
	}
	by := "asked"
	if err != nil {
		by = "failed"
	}
	f.a.asked.WithLabelValues(by).Inc()
}

// byTenant asks the rules of tenants anew for the rule tenant, about each tenant once.
func (f *fresh) byTenant() entrance {
	type said struct {
		asStored string
		err      error
	}
	known := make(map[string]said)
	return func(ctx context.Context, who *auth.Identity, kind RoomKind, id string) (string, error) {
		if s, ok := known[id]; ok {
			return s.asStored, s.err
		}
		found, err := f.a.decide(ctx, &inquiry{who: who, kind: kind}, []string{id})
		s := said{found[id], err}
		if err == nil && s.asStored == "" {
			s.err = ErrRefused
		}
		known[id] = s
		return s.asStored, s.err
	}
}
