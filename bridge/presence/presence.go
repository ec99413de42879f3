// Package presence knows who is online in which tenant, and how.
//
//	p, err := presence.New(presence.Options{Grace: 10 * time.Second, Remember: 10_000})
//	go p.Run(ctx, func(c presence.Change) { … }) // tells the others in the tenant
//	p.Enter(tenant, socket, presence.Local, who)
//	p.Leave(tenant, socket, who)
//
// A user is online while any of their sockets is, and for a grace time after the last one closed,
// so that nobody is told when a page is reloaded. A socket that dies without a word ends when its
// heartbeat does. A user is away while all of their sockets say so: a tab in the background is
// away, the user who works in another is not. A user is busy, or whatever else they chose, until
// they say otherwise.
//
// A mutex guards the state. Timers fire on goroutines of their own and take it. Changes go into a
// queue under the mutex, and Run's goroutine passes them on in that order, outside it.
package presence

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/fifo"
)

// Options are what the configuration says of presence.
type Options struct {
	Grace    time.Duration // for which a user stays online after the last socket closed
	Remember int           // users who went that are remembered, of all tenants; fixed by New
}

// Change is a change of a user's presence that others in the tenant are told of.
type Change struct {
	Tenant     string
	Who        *auth.Identity
	State      string // online, offline, or the client's own word
	Came, Went bool
	LastSeen   time.Time // zero unless the user went
}

// Socket is one socket of a user in a tenant.
type Socket struct {
	Tenant, Key string
	Who         *auth.Identity
	Status      string // the client's own word for how the user is; empty until it said one
}

// Origin is where a socket is.
type Origin uint8

// The origins.
const (
	Local    Origin = iota // at this node
	Remote                 // at another node
	Realtime               // at no node: the user shows up in a presence channel of Realtime
)

// Tracker follows who is online. It is safe for concurrent use.
type Tracker struct {
	changes *fifo.Queue[Change]

	mu     sync.Mutex // guards what follows
	grace  time.Duration
	online map[string]map[string]*attendance // by tenant and user id
	seen   *simplelru.LRU[key, struct{}]     // users who went, the last to go last
	went   map[string]map[string]departure
}

type key struct{ tenant, user string }

type departure struct {
	name string
	at   time.Time
}

// attendance is one user's presence in one tenant.
type attendance struct {
	who     *auth.Identity
	sockets map[string]socket // by key
	chosen  string            // what the user chose to be, "" for nothing
	passed  string            // the state that others know
	local   bool              // a socket of this node was among them
	revoked bool              // the user may not be in the tenant any more: not remembered once offline
	left    time.Time         // when the last socket to leave did
	until   time.Time         // when the grace after that ends
	leaving *time.Timer       // running until then
}

type socket struct {
	from Origin
	away string // the word with which the client said that the user is away, "" where they are not
}

// The states that have a meaning here. Others are passed on as clients send them.
const (
	online  = "online"
	offline = "offline"
)

// The words by which clients say that they are there, away, or want to be taken for gone. Any other
// is a choice of the user's.
var (
	onlineWords  = []string{online, "active", "available"}
	awayWords    = []string{"away", "idle", "inactive"}
	offlineWords = []string{offline, "invisible"}
)

// goodbyeGrace is how long a user stays online after their last client said that it goes: time
// enough to load a page anew.
const goodbyeGrace = 3 * time.Second

// maxChanges bounds the changes that wait for Run. Beyond it a change of status waits for the next
// sign of that user. Users who come and go are always passed on.
const maxChanges = 100_000

// New makes a Tracker. Close stops its timers.
func New(opts Options) (*Tracker, error) {
	p := &Tracker{
		changes: fifo.New(maxChanges, func(c Change) bool { return !c.Came && !c.Went }),
		grace:   opts.Grace, online: make(map[string]map[string]*attendance),
		went: make(map[string]map[string]departure),
	}
	var err error
	p.seen, err = simplelru.NewLRU(opts.Remember, func(k key, _ struct{}) {
		delete(p.went[k.tenant], k.user)
		if len(p.went[k.tenant]) == 0 {
			delete(p.went, k.tenant)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("presence.remember: %w", err)
	}
	return p, nil
}

// Update sets another grace. It holds for sockets that leave from now on.
func (p *Tracker) Update(opts Options) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grace = opts.Grace
}

// Run passes each change to emit, in order, until ctx ends. emit must not wait for clients.
func (p *Tracker) Run(ctx context.Context, emit func(Change)) { p.changes.Run(ctx, emit) }

// Enter notes a user's socket in a tenant. Entering twice is entering once. The socket is any key
// that Leave names again; keys of different origins must differ.
func (p *Tracker) Enter(tenant, socket string, from Origin, who *auth.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attend(tenant, socket, from, who)
}

// of gives a user's presence in a tenant, a new one where there is none.
func (p *Tracker) of(tenant, id string) *attendance {
	a := p.online[tenant][id]
	if a == nil {
		a = &attendance{sockets: make(map[string]socket, 1)}
		if p.online[tenant] == nil {
			p.online[tenant] = make(map[string]*attendance)
		}
		p.online[tenant][id] = a
	}
	return a
}

// attend is Enter for a caller that holds mu.
func (p *Tracker) attend(tenant, key string, from Origin, who *auth.Identity) {
	a := p.of(tenant, who.UserID)
	if a.leaving != nil {
		a.leaving.Stop()
		a.leaving, a.until = nil, time.Time{}
	}
	if a.who == nil || from != Realtime {
		a.who = who // what a token says goes before what others say
	}
	a.local = a.local || from == Local
	if _, there := a.sockets[key]; !there {
		a.sockets[key] = socket{from: from}
	}
	p.settle(tenant, a)
}

// SetStatus notes how a user says to be, in one socket, and enters it. One that says to be offline
// leaves instead.
func (p *Tracker) SetStatus(tenant, key string, from Origin, who *auth.Identity, word string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(offlineWords, word) {
		p.part(tenant, key, who, min(p.grace, goodbyeGrace))
		return
	}
	a, s := p.of(tenant, who.UserID), socket{from: from}
	switch {
	case slices.Contains(awayWords, word):
		s.away = word
	case slices.Contains(onlineWords, word):
		a.chosen = ""
	default:
		a.chosen = word
	}
	a.sockets[key] = s
	p.attend(tenant, key, from, who)
}

// Leave notes that a user's socket is gone from a tenant. It reports whether it was there.
func (p *Tracker) Leave(tenant, socket string, who *auth.Identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.part(tenant, socket, who, p.grace)
}

// Goodbye is Leave for a socket whose client said that it goes: a page was closed, or a user signed
// out. The grace is short then, a moment in which a page is loaded anew.
func (p *Tracker) Goodbye(tenant, socket string, who *auth.Identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.part(tenant, socket, who, min(p.grace, goodbyeGrace))
}

// part is Leave with a grace, for a caller that holds mu.
func (p *Tracker) part(tenant, socket string, who *auth.Identity, grace time.Duration) bool {
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

// Revoke is Leave for a user who may not be in the tenant any more. There is no grace, and the user
// isn't remembered among those who went.
func (p *Tracker) Revoke(tenant, socket string, who *auth.Identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.part(tenant, socket, who, p.grace) {
		return false
	}
	if a := p.online[tenant][who.UserID]; len(a.sockets) == 0 {
		a.leaving.Stop()
		a.leaving, a.revoked = nil, true
		p.settle(tenant, a)
	}
	return true
}

// expire settles what a user is whose grace ran out, unless a socket came back meanwhile.
func (p *Tracker) expire(tenant string, a *attendance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.online[tenant][a.who.UserID] != a || a.leaving == nil || time.Now().Before(a.until) {
		return
	}
	a.leaving = nil
	p.settle(tenant, a)
}

// settle passes on what a user is, where others don't know it yet.
func (p *Tracker) settle(tenant string, a *attendance) {
	state, before := a.state(), a.passed
	if state == before {
		return
	}
	change := Change{Tenant: tenant, Who: a.who, State: state, Came: before == "", Went: state == offline}
	if change.Went {
		change.LastSeen = a.left
	}
	if !p.changes.Push(change) {
		return
	}
	a.passed = state
	k := key{tenant, a.who.UserID}
	switch {
	case change.Came:
		p.seen.Remove(k)
	case change.Went:
		delete(p.online[tenant], a.who.UserID)
		if len(p.online[tenant]) == 0 {
			delete(p.online, tenant)
		}
		if a.revoked {
			break
		}
		p.seen.Add(k, struct{}{})
		if p.went[tenant] == nil {
			p.went[tenant] = make(map[string]departure)
		}
		p.went[tenant][k.user] = departure{a.who.Name, a.left}
	}
}

func (a *attendance) state() string {
	if len(a.sockets) == 0 {
		return offline
	}
	if a.chosen != "" {
		return a.chosen
	}
	away := ""
	for _, s := range a.sockets {
		if s.away == "" {
			return online
		}
		away = max(away, s.away) // of several words one, and always the same
	}
	return away
}

// Users gives the ids of the users online in a tenant, sorted.
func (p *Tracker) Users(tenant string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	users := make([]string, 0, len(p.online[tenant]))
	for id := range p.online[tenant] {
		users = append(users, id)
	}
	slices.Sort(users)
	return users
}

// Snapshot gives everybody who is online in a tenant, then those who went and are remembered, each
// by id.
func (p *Tracker) Snapshot(tenant string) []Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Change, 0, len(p.online[tenant]))
	for _, a := range p.online[tenant] {
		all = append(all, Change{Tenant: tenant, Who: a.who, State: a.passed})
	}
	for id, went := range p.went[tenant] {
		all = append(all, Change{
			Tenant: tenant, Who: &auth.Identity{UserID: id, Name: went.name},
			State: offline, Went: true, LastSeen: went.at,
		})
	}
	slices.SortFunc(all, func(a, b Change) int {
		if a.Went != b.Went {
			return map[bool]int{false: -1, true: 1}[a.Went]
		}
		return cmp.Compare(a.Who.UserID, b.Who.UserID)
	})
	return all
}

// LocalUsers gives, by tenant, the users who are online by a socket of this node, sorted by id.
func (p *Tracker) LocalUsers() map[string][]Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string][]Change, len(p.online))
	for tenant, users := range p.online {
		for _, a := range users {
			if a.isLocal() {
				all[tenant] = append(all[tenant], Change{Tenant: tenant, Who: a.who, State: a.passed})
			}
		}
		slices.SortFunc(all[tenant], func(a, b Change) int { return cmp.Compare(a.Who.UserID, b.Who.UserID) })
	}
	return all
}

// isLocal reports whether the user has a socket of this node, or had one within the grace and has
// no other.
func (a *attendance) isLocal() bool {
	for _, s := range a.sockets {
		if s.from == Local {
			return true
		}
	}
	return a.local && len(a.sockets) == 0
}

// LocalSockets gives every attendance of a socket of this node.
func (p *Tracker) LocalSockets() []Socket {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Socket
	for tenant, users := range p.online {
		for _, a := range users {
			for key, s := range a.sockets {
				if s.from == Local {
					all = append(all, Socket{tenant, key, a.who, cmp.Or(a.chosen, s.away)})
				}
			}
		}
	}
	return all
}

// Close stops every timer. Nobody is told.
func (p *Tracker) Close() {
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
