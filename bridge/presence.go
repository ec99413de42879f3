package bridge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/supabridge/supabridge/bridge/auth"
)

// presence knows who is online in which tenant, and how. A user is online while any socket of theirs is, and for a grace time after the last one closed, so
// that reloading a page tells nobody anything. A socket that dies without a word ends when its heartbeat does. A user is away while all of their sockets
// say so (a tab in the background is away, the user who works in another is not), and busy, or whatever they chose, until they say otherwise.
//
// The mutex guards all fields; timers fire on goroutines of their own and take it. Others are told under it, so that they hear of things in the order in
// which these happened; telling never waits for a client.
type presence struct {
	grace func() time.Duration // asked when a socket leaves
	tell  func(attended)

	mu     sync.Mutex
	online map[string]map[string]*attendance  // by tenant and user
	seen   *simplelru.LRU[attendee, struct{}] // those who went, the last to go last
	went   map[string]map[string]departure    // the same by tenant and user
}

// attended is a change of somebody's presence that others are told of.
type attended struct {
	tenant     string
	who        *auth.Identity
	state      string // statusOnline, statusOffline or a client's own word
	came, went bool
	at         time.Time // of having been seen last, of one who went
}

type attendee struct{ tenant, user string }

type departure struct {
	name string
	at   time.Time
}

type attendance struct {
	who     *auth.Identity
	sockets map[string]string // by key, the word with which one is away, "" where it is not
	chosen  string            // what the user chose to be, "" for nothing
	told    string            // the state that others know
	here    bool              // a socket of this bridge's was among them
	lost    bool              // the user may not be in the tenant any more: not remembered once offline
	left    time.Time         // when the last socket to leave did
	until   time.Time         // and when the grace after that ends
	leaving *time.Timer       // running until then
}

// The states that have a meaning here. Others are passed on as clients send them.
const (
	statusOnline  = "online"
	statusOffline = "offline"
)

// The words by which clients say that they are there, away, or want to be taken for gone. Any other is a choice of the user's.
var (
	onlineWords  = []string{statusOnline, "active", "available"}
	awayWords    = []string{"away", "idle", "inactive"}
	offlineWords = []string{statusOffline, "invisible"}
)

// newPresence remembers those that went, remember at most.
func newPresence(grace func() time.Duration, remember int, tell func(attended)) (*presence, error) {
	p := &presence{grace: grace, tell: tell, online: make(map[string]map[string]*attendance), went: make(map[string]map[string]departure)}
	var err error
	p.seen, err = simplelru.NewLRU(remember, func(key attendee, _ struct{}) {
		delete(p.went[key.tenant], key.user)
		if len(p.went[key.tenant]) == 0 {
			delete(p.went, key.tenant)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("bridge: presence.remember: %w", err)
	}
	return p, nil
}

// enter notes a user's socket in a tenant. Entering twice is entering once.
func (p *presence) enter(tenant, socket string, who *auth.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attend(tenant, socket, who)
}

// of gives a user's attendance in a tenant, a new one where there is none.
func (p *presence) of(tenant, user string) *attendance {
	a := p.online[tenant][user]
	if a == nil {
		a = &attendance{sockets: make(map[string]string, 1)}
		if p.online[tenant] == nil {
			p.online[tenant] = make(map[string]*attendance)
		}
		p.online[tenant][user] = a
	}
	return a
}

func (p *presence) attend(tenant, socket string, who *auth.Identity) {
	a := p.of(tenant, who.UserID)
	if a.leaving != nil {
		a.leaving.Stop()
		a.leaving, a.until = nil, time.Time{}
	}
	if a.who == nil || !strings.HasPrefix(socket, overRealtime) {
		a.who = who // what a token says goes before what others say
	}
	a.here = a.here || !notHere(socket)
	if _, there := a.sockets[socket]; !there {
		a.sockets[socket] = ""
	}
	p.settle(tenant, a)
}

// say notes how a user says to be, in one socket.
func (p *presence) say(tenant, socket string, who *auth.Identity, word string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(offlineWords, word) {
		p.part(tenant, socket, who, min(p.grace(), goodbyeGrace))
		return
	}
	a := p.of(tenant, who.UserID)
	a.sockets[socket] = ""
	switch {
	case slices.Contains(awayWords, word):
		a.sockets[socket] = word
	case slices.Contains(onlineWords, word):
		a.chosen = ""
	default:
		a.chosen = word
	}
	p.attend(tenant, socket, who)
}

// leave notes that a user's socket is gone from a tenant; false where it wasn't there.
func (p *presence) leave(tenant, socket string, who *auth.Identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.part(tenant, socket, who, p.grace())
}

// depart is leave for a socket whose client said that it goes: a page that was closed, or a user
// who signed out. Nobody waits for it to come back but for a moment, in which a page is loaded
// anew.
func (p *presence) depart(tenant, socket string, who *auth.Identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.part(tenant, socket, who, min(p.grace(), goodbyeGrace))
}

// goodbyeGrace is how long a user stays online whose last client said that it goes: time enough to
// load a page anew.
const goodbyeGrace = 3 * time.Second

func (p *presence) part(tenant, socket string, who *auth.Identity, grace time.Duration) bool {
	a := p.online[tenant][who.UserID]
	if a == nil {
		return false
	}
	if _, there := a.sockets[socket]; !there {
		return false
	}
	delete(a.sockets, socket)
	a.left = time.Now()
	if until := a.left.Add(grace); until.After(a.until) { // another socket that was lost may have longer
		a.until = until
	}
	if a.leaving == nil {
		a.leaving = time.AfterFunc(time.Until(a.until), func() { p.expire(tenant, a) })
	} else {
		a.leaving.Reset(time.Until(a.until))
	}
	return true
}

// expel notes that a user's socket is gone from a tenant that the user may not be in any more;
// false where it wasn't there. Nobody waits for it to come back, and it isn't remembered among
// those who went.
func (p *presence) expel(tenant, socket string, who *auth.Identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.part(tenant, socket, who, p.grace()) {
		return false
	}
	if a := p.online[tenant][who.UserID]; len(a.sockets) == 0 {
		a.leaving.Stop()
		a.leaving, a.lost = nil, true
		p.settle(tenant, a)
	}
	return true
}

// expire settles what a user is whose grace ran out, unless a socket came back meanwhile.
func (p *presence) expire(tenant string, a *attendance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.online[tenant][a.who.UserID] != a || a.leaving == nil || time.Now().Before(a.until) {
		return
	}
	a.leaving = nil
	p.settle(tenant, a)
}

// settle tells what a user is, where others don't know it yet.
func (p *presence) settle(tenant string, a *attendance) {
	state, before := a.state(), a.told
	if state == before {
		return
	}
	a.told = state
	change := attended{tenant: tenant, who: a.who, state: state, came: before == "", went: state == statusOffline}
	key := attendee{tenant, a.who.UserID}
	switch {
	case change.came:
		p.seen.Remove(key)
	case change.went:
		change.at = a.left
		delete(p.online[tenant], a.who.UserID)
		if len(p.online[tenant]) == 0 {
			delete(p.online, tenant)
		}
		if a.lost {
			break
		}
		p.seen.Add(key, struct{}{})
		if p.went[tenant] == nil {
			p.went[tenant] = make(map[string]departure)
		}
		p.went[tenant][key.user] = departure{a.who.Name, a.left}
	}
	p.tell(change)
}

func (a *attendance) state() string {
	if len(a.sockets) == 0 {
		return statusOffline
	}
	if a.chosen != "" {
		return a.chosen
	}
	away := ""
	for _, word := range a.sockets {
		if word == "" {
			return statusOnline
		}
		away = max(away, word) // of several words one, and always the same
	}
	return away
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

// snapshot gives everybody who is online in a tenant, then those who went and are remembered, each by id.
func (p *presence) snapshot(tenant string) []attended {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]attended, 0, len(p.online[tenant]))
	for _, a := range p.online[tenant] {
		all = append(all, attended{tenant: tenant, who: a.who, state: a.told})
	}
	for user, went := range p.went[tenant] {
		all = append(all, attended{tenant: tenant, who: &auth.Identity{UserID: user, Name: went.name}, state: statusOffline, went: true, at: went.at})
	}
	slices.SortFunc(all, func(a, b attended) int {
		if a.went != b.went {
			return map[bool]int{false: -1, true: 1}[a.went]
		}
		return cmp.Compare(a.who.UserID, b.who.UserID)
	})
	return all
}

// here gives, by tenant, the users who are online by a socket of this bridge's, sorted by id.
func (p *presence) here() map[string][]attended {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string][]attended, len(p.online))
	for tenant, users := range p.online {
		for _, a := range users {
			if a.isHere() {
				all[tenant] = append(all[tenant], attended{tenant: tenant, who: a.who, state: a.told})
			}
		}
		slices.SortFunc(all[tenant], func(a, b attended) int { return cmp.Compare(a.who.UserID, b.who.UserID) })
	}
	return all
}

// isHere tells whether it has a socket, or had one within the grace time and has no other.
func (a *attendance) isHere() bool {
	for socket := range a.sockets {
		if !notHere(socket) {
			return true
		}
	}
	return a.here && len(a.sockets) == 0
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
