// Package admin lets Socket.IO's own Admin UI (npm @socket.io/admin-ui, or https://admin.socket.io)
// look at a server and act on it: servers, sockets, rooms, events, and whatever actions are
// allowed.
//
//	a, err := admin.Instrument(server, admin.Options{Username: "ops", PasswordHash: "$2a$10$…", Allow: []admin.Action{admin.Disconnect}})
//	go a.Run(ctx)
//
// It speaks the protocol of the npm package's instrument() in version 0.5. What differs: actions
// are off unless allowed one by one; the contents of events are left out unless Bodies is set;
// headers and query parameters that may hold credentials never are shown; and there are bounds
// where the original has none.
//
// Instrument starts nothing. Run's goroutine tells the admins what happens; it ends with its
// context.
package admin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/socketio"
)

// Action is something that an admin may do to sockets, all of a namespace or those of one room.
type Action string

// The actions. An admin that may have sockets join gets around whatever decides who may enter a
// room.
const (
	Emit       Action = "emit"
	Join       Action = "join"
	Leave      Action = "leave"
	Disconnect Action = "disconnect"
)

// Bounds that are not worth an option.
const (
	statsEvery = 2 * time.Second // the Admin UI takes a server that says nothing for 10 s for dead
	maxNotices = 4096            // waiting to be told to the admins; when more come, all sockets are told anew instead
	maxListed  = 1000            // sockets of which an admin that connects is told
	eventsRate = 200             // events a second of which admins are told; of more, none
)

// Options of Instrument.
type Options struct {
	// Namespace the Admin UI connects to. Default: /admin.
	Namespace string
	// Username and PasswordHash, of bcrypt, are what an admin has to know. Required.
	Username, PasswordHash string
	// CountsOnly leaves out sockets, rooms and events: what the original calls the production mode.
	CountsOnly bool
	// Bodies shows the contents of events.
	Bodies bool
	// Allow names the actions that are offered and carried out.
	Allow []Action
	// ServerID names this server among several. Default: the host's name and the process id.
	ServerID string
	// Data, if set, is what is shown of a socket besides its handshake. It must not hold secrets.
	Data func(*socketio.Socket) any
	// HideRoom, if set, leaves rooms out that mean something only to the application.
	HideRoom func(room string) bool
	// Acted, if set, learns of each action that was carried out, for an audit log.
	Acted func(Deed)
	// Refused, if set, learns of logins that failed, with the client's address.
	Refused func(address string, err error)
}

// Deed is an action that was carried out.
type Deed struct {
	Action    Action
	Namespace string
	Filter    string // the room or socket it was limited to; empty: the whole namespace
	What      string // the event, or the room entered or left
	Address   string // the admin's
}

// Admin is the server's side of the Admin UI.
type Admin struct {
	io      *socketio.Server
	space   *socketio.Namespace
	opts    Options
	id      string
	host    string
	started time.Time
	login   login
	notices chan notice
	missed  atomic.Bool   // notices did not fit
	dropped atomic.Uint64 // and how many
	events  *rate.Limiter

	mu      sync.Mutex // guards what follows
	admins  int
	counted map[tally]int // since the last statistics
	traffic socketio.Traffic
}

// Instrument adds the namespace to a server. Run what it returns. It fails where the options don't
// say who may log in.
func Instrument(io *socketio.Server, opts Options) (*Admin, error) {
	if opts.Username == "" {
		return nil, errors.New("admin: no user name")
	}
	if _, err := bcrypt.Cost([]byte(opts.PasswordHash)); err != nil {
		return nil, fmt.Errorf("admin: the password's hash is not one of bcrypt: %w", err)
	}
	if opts.Namespace == "" {
		opts.Namespace = "/admin"
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	a := &Admin{
		io: io, space: io.Of(opts.Namespace), opts: opts, host: host, id: opts.ServerID, started: time.Now(),
		notices: make(chan notice, maxNotices), events: rate.NewLimiter(eventsRate, eventsRate), counted: make(map[tally]int),
	}
	if a.id == "" {
		a.id = fmt.Sprintf("%s#%d", host, os.Getpid())
	}
	a.login.init(opts.Username, opts.PasswordHash)
	a.space.Use(a.admit)
	a.space.OnConnection(a.welcome)
	return a, nil
}

// Admins is how many are connected.
func (a *Admin) Admins() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.admins
}

// Dropped counts what admins were not told since too much happened at once.
func (a *Admin) Dropped() uint64 { return a.dropped.Load() }

// welcome takes up an admin that was let in.
func (a *Admin) welcome(s *socketio.Socket) {
	a.mu.Lock()
	a.admins++
	if a.admins == 1 {
		a.traffic = a.io.Traffic()
		clear(a.counted)
		a.io.Watch(a.watch())
	}
	a.mu.Unlock()
	s.OnDisconnect(func(string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.admins--; a.admins == 0 {
			a.io.Watch(nil)
		}
	})
	if session, ok := s.Data().(string); ok {
		_ = s.Emit("session", session) // to an admin that is going already, nothing; so below
	}
	_ = s.Emit("config", map[string]any{"supportedFeatures": a.features()})
	a.listen(s)
	if !a.opts.CountsOnly {
		_ = s.Emit("all_sockets", a.describeAll())
	}
	_ = s.Emit("server_stats", a.stats(nil))
}

// features are what the UI offers.
func (a *Admin) features() []string {
	names := []string{"AGGREGATED_EVENTS"}
	for action, features := range map[Action][]string{Emit: {"EMIT"}, Join: {"JOIN", "MJOIN"}, Leave: {"LEAVE",
		"MLEAVE"}, Disconnect: {"DISCONNECT", "MDISCONNECT"}} {
		if slices.Contains(a.opts.Allow, action) {
			names = append(names, features...)
		}
	}
	if !a.opts.CountsOnly {
		names = append(names, "ALL_EVENTS")
	}
	return names
}

// Run tells the admins what happens until ctx ends.
func (a *Admin) Run(ctx context.Context) {
	tick := time.NewTicker(statsEvery)
	defer tick.Stop()
	defer a.io.Watch(nil)
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-a.notices:
			a.tell(n)
		case <-tick.C:
			if a.Admins() == 0 {
				continue
			}
			if a.missed.Swap(false) {
				_ = a.space.Local().Emit("all_sockets", a.describeAll())
			}
			_ = a.space.Local().Emit("server_stats", a.stats(a.tallies()))
		}
	}
}
