package bridge

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/access"
)

// home is the tenant that a client's token names. The token is a claim: the client counts as
// present there, and reads who is present, once rooms.tenant.rules let it in, and until a recheck
// finds that they don't any more. The client's attending guards it.
type home struct {
	claimed string // as the token spells it; empty where the token names none
	stored  string // as stored; empty until the rules let the client in
	gone    bool   // the socket is gone and counts nowhere any more
}

var errNotHome = errors.New("neither joined nor named by the token")

// claimHome takes the tenant that the client's token names now. It reports whether the rules have
// still to be asked.
func (c *client) claimHome() (undecided bool) {
	claimed := c.who.Tenant
	c.attending.Lock()
	if c.home.claimed == claimed {
		c.attending.Unlock()
		return false // a recheck looks at what the new token allows
	}
	former := c.home.stored
	c.home.claimed, c.home.stored = claimed, ""
	if _, joined := c.tenants.get(former); former != "" && !joined {
		c.part(former, c.who)
	}
	c.attending.Unlock()
	if claimed == "" {
		return false
	}
	stored, known := c.tenants.get(claimed)
	if !known {
		stored, known = c.b.authorizer.Known(c.who, access.TenantRoom, claimed)
	}
	if stored != "" {
		c.OpenTenant(claimed, stored)
	}
	return !known
}

// OpenTenant has the client count as present in the tenant that its token claims. It does nothing
// where that is another one by now.
func (c *client) OpenTenant(claimed, stored string) {
	c.attending.Lock()
	defer c.attending.Unlock()
	if c.home.gone || c.home.claimed != claimed || c.home.stored != "" {
		return
	}
	c.home.stored = stored
	c.attend(stored)
}

// ClaimedTenant gives the claimed tenant where the rules have not let the client in and its
// presence depends on them, else "".
func (c *client) ClaimedTenant() string {
	if c.b.presence == nil || c.identity.Load().UserID == "" {
		return ""
	}
	c.attending.Lock()
	defer c.attending.Unlock()
	if c.home.gone || c.home.stored != "" {
		return ""
	}
	return c.home.claimed
}

// presentIn lists the tenants in which the client counts as present, as stored.
func (c *client) presentIn() []string {
	c.attending.Lock()
	defer c.attending.Unlock()
	return c.attends()
}

// attends is presentIn for a caller that holds attending.
func (c *client) attends() []string {
	tenants := c.tenants.all()
	if at := c.home.stored; at != "" && !slices.Contains(tenants, at) {
		tenants = append(tenants, at)
	}
	return tenants
}

// atHome gives the tenant of an id, as stored, where that is the one the token claims and the rules
// let the client in. They are asked where they have not let it in yet; the authorizer remembers
// what they answer.
func (c *client) atHome(id string) (string, error) {
	c.attending.Lock()
	at := c.home
	c.attending.Unlock()
	if id == "" || at.claimed == "" || id != at.claimed && id != at.stored {
		return "", errNotHome
	}
	if at.stored != "" {
		return at.stored, nil
	}
	stored, err := c.b.authorizer.MayEnter(c.socket.Context(), c.who, access.TenantRoom, at.claimed)
	if err == nil {
		c.OpenTenant(at.claimed, stored)
	}
	return stored, err
}

// homes asks whether clients that came may be in the tenant that their token claims, so that
// connecting waits for no answer. Where it can't be asked it asks again. The mutex guards waiting
// and failed, which hold at most the sockets that are here; run's goroutines ask.
type homes struct {
	b *Bridge

	mu      sync.Mutex
	waiting []*client
	failed  []*client
	wake    chan struct{} // holds one
}

// Bounds of asking: how many questions at once, and how long until one that failed is asked again.
const (
	homeQuestions = 8
	homeRetry     = 5 * time.Second
)

func newHomes(b *Bridge) *homes { return &homes{b: b, wake: make(chan struct{}, 1)} }

// ask has a client's claim looked at soon. It never waits.
func (h *homes) ask(c *client) {
	h.mu.Lock()
	h.waiting = append(h.waiting, c)
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (h *homes) next() *client {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiting) == 0 {
		h.waiting = nil
		return nil
	}
	c := h.waiting[0]
	h.waiting[0] = nil
	h.waiting = h.waiting[1:]
	return c
}

// again puts those whose question failed back among the waiting.
func (h *homes) again() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting, h.failed = append(h.waiting, h.failed...), nil
}

// run asks until ctx ends.
func (h *homes) run(ctx context.Context) {
	slots := make(chan struct{}, homeQuestions)
	var asking sync.WaitGroup
	defer asking.Wait()
	retry := time.NewTicker(homeRetry)
	defer retry.Stop()
	for {
		c := h.next()
		if c == nil {
			select {
			case <-ctx.Done():
				return
			case <-h.wake:
			case <-retry.C:
				h.again()
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		asking.Go(func() {
			defer func() { <-slots }()
			h.look(ctx, c)
		})
	}
}

// look asks about one client.
func (h *homes) look(ctx context.Context, c *client) {
	claimed := c.ClaimedTenant()
	if claimed == "" {
		return
	}
	stored, err := h.b.authorizer.MayEnter(ctx, c.identity.Load(), access.TenantRoom, claimed)
	switch {
	case err == nil:
		c.OpenTenant(claimed, stored)
	case !errors.Is(err, access.ErrRefused):
		h.mu.Lock()
		h.failed = append(h.failed, c)
		h.mu.Unlock()
	}
}
