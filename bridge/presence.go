package bridge

import (
	"slices"
	"sync"
	"time"
)

// presence knows who is online in which tenant. A user is online while any socket of theirs is, and for a grace time after the last one closed, so
// that reloading a page tells nobody anything. A socket that dies without a word ends when its heartbeat does.
//
// The mutex guards all fields; timers fire on goroutines of their own and take it. Others are told under it, so that they hear of things in the order in
// which these happened; telling never waits for a client.
type presence struct {
	grace func() time.Duration // asked when a user leaves
	tell  func(tenant string, user *Identity, online bool, lastSeen time.Time)

	mu     sync.Mutex
	online map[string]map[string]*attendance // by tenant and user
}

type attendance struct {
	who     *Identity
	sockets map[string]struct{}
	leaving *time.Timer // running while no socket is left
}

func newPresence(grace func() time.Duration, tell func(string, *Identity, bool, time.Time)) *presence {
	return &presence{grace: grace, tell: tell, online: make(map[string]map[string]*attendance)}
}

// enter notes a user's socket in a tenant. Entering twice is entering once.
func (p *presence) enter(tenant, socket string, who *Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	users := p.online[tenant]
	if users == nil {
		users = make(map[string]*attendance)
		p.online[tenant] = users
	}
	a, online := users[who.UserID]
	if !online {
		a = &attendance{sockets: make(map[string]struct{}, 1)}
		users[who.UserID] = a
	}
	if a.leaving != nil {
		a.leaving.Stop()
		a.leaving = nil
	}
	a.who = who
	a.sockets[socket] = struct{}{}
	if !online {
		p.tell(tenant, who, true, time.Now())
	}
}

// leave notes that a user's socket is gone from a tenant.
func (p *presence) leave(tenant, socket string, who *Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, online := p.online[tenant][who.UserID]
	if !online {
		return
	}
	delete(a.sockets, socket)
	if len(a.sockets) == 0 && a.leaving == nil {
		left := time.Now()
		a.leaving = time.AfterFunc(p.grace(), func() { p.expire(tenant, a, left) })
	}
}

// expire takes a user offline whose grace ran out, unless a socket came back meanwhile.
func (p *presence) expire(tenant string, a *attendance, left time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	users := p.online[tenant]
	if users[a.who.UserID] != a || len(a.sockets) > 0 {
		return
	}
	delete(users, a.who.UserID)
	if len(users) == 0 {
		delete(p.online, tenant)
	}
	p.tell(tenant, a.who, false, left)
}

// list gives the ids of the users online in a tenant, sorted.
func (p *presence) list(tenant string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	users := make([]string, 0, len(p.online[tenant]))
	for user := range p.online[tenant] {
		users = append(users, user)
	}
	slices.Sort(users)
	return users
}

// close stops every timer; nobody is told.
func (p *presence) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, users := range p.online {
		for _, a := range users {
			if a.leaving != nil {
				a.leaving.Stop()
			}
		}
	}
	clear(p.online)
}
