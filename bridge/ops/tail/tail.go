// Package tail shows those who run a bridge what passes through it as it passes: changes,
// connections, joins, typing, presence.
//
//	var tap tail.Tap
//	tap.Show(tail.Join, func() tail.Sight { return tail.Sight{User: user, Room: room} })   // wherever something happens
//	mux.Handle("GET /tail", tap.Handler(bodies))                                           // for supabridge tail
//	err := tail.Follow(ctx, "http://127.0.0.1:9464", filter, print)                        // what that does
//
// While nobody watches, showing costs one atomic load. Nobody who watches is waited for: one who
// falls behind misses some, and is told how many.
//
// The package starts no goroutine: a viewer is the goroutine of its request.
package tail

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is what sort of thing happened.
type Kind string

// The kinds.
const (
	Connect    Kind = "connect"
	Refuse     Kind = "refuse" // of a connection
	Disconnect Kind = "disconnect"
	Join       Kind = "join"
	Leave      Kind = "leave"
	Change     Kind = "change" // of a row
	Typing     Kind = "typing"
	Presence   Kind = "presence"
	Feed       Kind = "feed"   // its state
	Missed     Kind = "missed" // by the viewer; Text is how many
)

// Kinds are those that can be asked for.
var Kinds = []Kind{Connect, Refuse, Disconnect, Join, Leave, Change, Typing, Presence, Feed}

// Sight is one thing that happened. What does not apply is empty.
type Sight struct {
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"`
	// Text says what: INSERT, started, online, live, ok, or why not.
	Text         string `json:"text,omitempty"`
	Table        string `json:"table,omitempty"`
	ID           string `json:"id,omitempty"` // of the row
	Conversation string `json:"conversation,omitempty"`
	Tenant       string `json:"tenant,omitempty"`
	User         string `json:"user,omitempty"`
	Socket       string `json:"socket,omitempty"`
	// Detail is the rest in words, such as how a change came and after how long.
	Detail string `json:"detail,omitempty"`
	// Body is the row. It is shown only to those who ask for it, where the configuration allows.
	Body json.RawMessage `json:"body,omitempty"`
}

// Filter says what a viewer wants to see; its zero value is everything, without bodies. A field
// that is set must equal the sight's.
type Filter struct {
	Kinds                             []Kind
	Table, Conversation, Tenant, User string
	Bodies                            bool
}

// wants tells whether a viewer is to see something.
func (f *Filter) wants(s *Sight) bool {
	fits := func(want, is string) bool { return want == "" || want == is }
	return f.kind(s.Kind) && fits(f.Table, s.Table) && fits(f.Conversation, s.Conversation) && fits(f.Tenant, s.Tenant) &&
		fits(f.User, s.User)
}

func (f *Filter) kind(k Kind) bool { return len(f.Kinds) == 0 || slices.Contains(f.Kinds, k) }

// query writes the filter as the handler reads it.
func (f *Filter) query() url.Values {
	q := url.Values{}
	for _, k := range f.Kinds {
		q.Add("kind", string(k))
	}
	for name, value := range map[string]string{"table": f.Table, "conversation": f.Conversation, "tenant": f.Tenant,
		"user": f.User} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Bodies {
		q.Set("bodies", "1")
	}
	return q
}

func parseFilter(q url.Values) Filter {
	f := Filter{
		Table:        q.Get("table"),
		Conversation: q.Get("conversation"),
		Tenant:       q.Get("tenant"),
		User:         q.Get("user"),
		Bodies:       q.Get("bodies") == "1",
	}
	for _, k := range q["kind"] {
		f.Kinds = append(f.Kinds, Kind(k))
	}
	return f
}

// Bounds of what watching may cost.
const (
	maxViewers = 16
	maxWaiting = 1024 // sights, for each viewer
)

// Tap is where things are shown. The zero value is ready; it must not be copied.
type Tap struct {
	watched atomic.Bool // whether there is a viewer at all

	mu      sync.Mutex // guards what is below
	viewers map[*viewer]struct{}
	closed  bool
}

// viewer is one who watches.
type viewer struct {
	filter Filter
	queue  chan Sight
	missed atomic.Uint64
	gone   chan struct{} // closed with the tap
}

// Show shows something to those who watch. build is called only if there are any, and may not keep
// them waiting.
func (t *Tap) Show(kind Kind, build func() Sight) {
	if !t.watched.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var s Sight
	built := false
	for v := range t.viewers {
		if !v.filter.kind(kind) {
			continue
		}
		if !built {
			s, built = build(), true
			s.At, s.Kind = time.Now().UTC(), kind
		}
		if v.filter.wants(&s) {
			v.offer(s)
		}
	}
}

func (v *viewer) offer(s Sight) {
	if !v.filter.Bodies {
		s.Body = nil
	}
	select {
	case v.queue <- s:
	default:
		v.missed.Add(1)
	}
}

// watch adds a viewer; nil where there are too many, or the tap is closed.
func (t *Tap) watch(f Filter) *viewer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.viewers) >= maxViewers {
		return nil
	}
	v := &viewer{filter: f, queue: make(chan Sight, maxWaiting), gone: make(chan struct{})}
	if t.viewers == nil {
		t.viewers = make(map[*viewer]struct{})
	}
	t.viewers[v] = struct{}{}
	t.watched.Store(true)
	return v
}

func (t *Tap) leave(v *viewer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.viewers, v)
	t.watched.Store(len(t.viewers) > 0)
}

// Close ends everybody's watching, for good.
func (t *Tap) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for v := range t.viewers {
		close(v.gone)
		delete(t.viewers, v)
	}
	t.watched.Store(false)
}

// lost takes the number of what the viewer missed, as a sight; ok is false for none.
func (v *viewer) lost() (s Sight, ok bool) {
	n := v.missed.Swap(0)
	return Sight{
		At:     time.Now().UTC(),
		Kind:   Missed,
		Text:   strconv.FormatUint(n, 10),
		Detail: "too much at once; filter",
	}, n > 0
}
