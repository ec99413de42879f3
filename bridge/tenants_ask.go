package bridge

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/supabase"
)

// Bounds of asking for tenants.
const (
	maxBatches = 3                      // requests under way that name several conversations, or are the first to name one
	maxAlone   = 5                      // requests under way for one conversation each
	batchWait  = time.Second            // for an answer about several; then each is asked for by itself
	tenantWait = 5 * time.Second        // for the tenant of a conversation, in all; the changes of its room wait that long
	aloneTries = 2                      // requests for one conversation by itself that may fail
	restMin    = 100 * time.Millisecond // before the next request where several failed in a row; doubled each time
	restMax    = time.Second
	restAfter  = 3 // failures in a row
)

// tenantAsker asks Supabase for the tenants of conversations beside the feed. What is wanted while
// requests are under way goes out together in the next one. A request that hangs or fails delays
// only the conversations that it names: it is given up after batchWait, and each of them is then
// asked for by itself. After tenantWait a conversation's question has failed.
//
// The mutex guards what is below it. Each request has a goroutine; close ends and awaits them.
type tenantAsker struct {
	tenants *tenants
	answer  func(conversation, tenant string, err error) // called by many goroutines
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	asked     map[string]*tenantQuestion // those without an answer
	together  []*tenantQuestion          // wait to be asked with others
	alone     []*tenantQuestion          // wait to be asked by themselves
	batches   int                        // requests under way, of either kind
	singles   int
	failures  int       // requests that failed since the last one that did not
	notBefore time.Time // when the next request may go out
	closed    bool
}

type tenantQuestion struct {
	conversation string
	until        time.Time // then it has failed
	tries        int       // that failed, alone
}

func newTenantAsker(t *tenants, answer func(conversation, tenant string, err error)) *tenantAsker {
	a := &tenantAsker{tenants: t, answer: answer, asked: make(map[string]*tenantQuestion)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// want has a conversation's tenant asked for, unless that is under way. It never waits.
func (a *tenantAsker) want(conversation string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked[conversation] != nil || a.closed {
		return
	}
	q := &tenantQuestion{conversation: conversation, until: time.Now().Add(tenantWait)}
	a.asked[conversation] = q
	a.together = append(a.together, q)
	a.start()
}

// close ends all requests. Nothing is answered any more when it has returned.
func (a *tenantAsker) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.running.Wait()
}

// start begins the requests that may go out. The caller holds mu.
func (a *tenantAsker) start() {
	for a.batches < maxBatches && len(a.together) > 0 && !a.closed {
		n := min(len(a.together), supabase.MaxIDs)
		batch := slices.Clone(a.together[:n])
		a.together = slices.Delete(a.together, 0, n)
		a.batches++
		a.running.Go(func() { a.run(batch, &a.batches) })
	}
	for a.singles < maxAlone && len(a.alone) > 0 && !a.closed {
		one := []*tenantQuestion{a.alone[0]}
		a.alone = slices.Delete(a.alone, 0, 1)
		a.singles++
		a.running.Go(func() { a.run(one, &a.singles) })
	}
}

// run asks once, and begins what may go out after that.
func (a *tenantAsker) run(batch []*tenantQuestion, slots *int) {
	last := slices.MaxFunc(batch, func(x, y *tenantQuestion) int { return x.until.Compare(y.until) }).until
	ctx, cancel := context.WithDeadline(a.ctx, last)
	defer cancel()
	var pairs []supabase.Pair
	err := a.rest(ctx)
	if err == nil {
		if slots == &a.batches {
			ctx, cancel = context.WithTimeout(ctx, batchWait)
			defer cancel()
		}
		ids := make([]string, len(batch))
		for i, q := range batch {
			ids[i] = q.conversation
		}
		t := a.tenants.table
		pairs, err = a.tenants.rows.Values(ctx, t.Name, t.Tenant, t.ID, ids)
	}
	a.mu.Lock()
	*slots--
	told := a.sort(batch, pairs, err)
	a.start()
	a.mu.Unlock()
	for _, tell := range told {
		tell()
	}
}

// rest waits where requests failed of late, or Supabase said to wait.
func (a *tenantAsker) rest(ctx context.Context) error {
	for {
		a.mu.Lock()
		wait := time.Until(a.notBefore)
		a.mu.Unlock()
		if wait <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("after %d failures in a row: %w", restAfter, ctx.Err())
		case <-timer.C:
		}
	}
}

// sort gives the answers that a request brought, as functions to be called without mu, and puts the
// other questions back. The caller holds mu.
func (a *tenantAsker) sort(batch []*tenantQuestion, pairs []supabase.Pair, err error) (told []func()) {
	settle := func(q *tenantQuestion, tenant string, err error) {
		delete(a.asked, q.conversation)
		if !a.closed {
			told = append(told, func() { a.answer(q.conversation, tenant, err) })
		}
	}
	if err != nil {
		a.slower(err)
		e, typed := supabase.AsError(err)
		for _, q := range batch {
			if len(batch) == 1 {
				q.tries++
			}
			switch slow := typed && e.Class == supabase.ClassSlow; {
			case !time.Now().Before(q.until),
				len(batch) == 1 && !slow && (q.tries == aloneTries || !typed || e.Class != supabase.ClassRetry):
				settle(q, "", err)
			case slow:
				a.together = append(a.together, q)
			default:
				a.alone = append(a.alone, q)
			}
		}
		return told
	}
	a.failures, a.notBefore = 0, time.Time{}
	if len(batch) == 1 { // the row may spell the id otherwise
		tenant := ""
		if len(pairs) > 0 {
			tenant = pairs[0].Value
		}
		settle(batch[0], tenant, nil)
		return told
	}
	found := make(map[string]string, len(pairs))
	for _, p := range pairs {
		found[p.Key] = p.Value
	}
	var missing []*tenantQuestion
	for _, q := range batch {
		if tenant, ok := found[q.conversation]; ok {
			delete(found, q.conversation)
			settle(q, tenant, nil)
		} else {
			missing = append(missing, q)
		}
	}
	switch {
	case len(found) > 0: // rows that spell their id otherwise than it was asked for
		a.alone = append(a.alone, missing...)
	case len(pairs) > 0: // the project may let fewer rows be answered than were asked for
		a.together = append(a.together, missing...)
	default:
		for _, q := range missing {
			settle(q, "", nil)
		}
	}
	return told
}

// slower has the next request wait where Supabase says so, or several failed in a row. The caller
// holds mu.
func (a *tenantAsker) slower(err error) {
	if a.ctx.Err() != nil {
		return
	}
	a.failures++
	var wait time.Duration
	if a.failures >= restAfter {
		wait = min(restMin<<min(a.failures-restAfter, 10), restMax)
	}
	if e, ok := supabase.AsError(err); ok && e.Class == supabase.ClassSlow {
		wait = max(wait, e.RetryAfter, restMin)
	}
	if at := time.Now().Add(wait); at.After(a.notBefore) {
		a.notBefore = at
	}
}
