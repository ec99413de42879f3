// Package emit sends events to rooms, to each socket in the style that it hears.
//
//	e := emit.New(emit.Options{Words: words, Register: registerer})
//	e.Serve(namespaces)
//	e.Emit(emit.Audience{Conversation: []string{"conversation:c1"}}, &vocabulary.Occasion{Event: vocabulary.MessageCreated, Row: row})
//
// Each socket is in the room of its style, so that an event goes in one style to those who hear it:
// to its rooms, except the rooms of all other styles. A style that no socket ever heard costs
// nothing. With one style in use nothing is excepted.
//
// It starts no goroutine. To emit never waits for a client. All methods are safe for concurrent use
// once Serve was called.
package emit

import (
	"encoding/json"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

// Options of an Emitter.
type Options struct {
	// Words is the vocabulary in effect, asked for each event.
	Words func() *vocabulary.Vocabulary
	// Mirrored reports whether clients may be recovered at other nodes, which then must have emitted
	// the same.
	Mirrored func() bool
	// Relay sends an event, in the preset's style, to servers that are no bridges. It does nothing
	// where there are none.
	Relay func(Audience, []vocabulary.Utterance)
	// Register takes the metrics.
	Register prometheus.Registerer
}

// Emitter emits events to the sockets of this node.
type Emitter struct {
	opts   Options
	spaces []*socketio.Namespace
	used   [8]atomic.Bool // by style; never taken back, since a socket that is away may be recovered
	sent   *prometheus.CounterVec
}

// New makes an Emitter.
func New(opts Options) *Emitter {
	e := &Emitter{opts: opts, sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "events_sent_total",
		Help: "Events sent to rooms or sockets, by what they tell; each counts once however many sockets hear it."},
		[]string{"event"})}
	opts.Register.MustRegister(e.sent)
	return e
}

// Serve sets the namespaces whose sockets events go to. It comes before anything is emitted.
func (e *Emitter) Serve(spaces []*socketio.Namespace) { e.spaces = spaces }

// Use notes that sockets hear a style. It reports whether that is new.
func (e *Emitter) Use(s vocabulary.Style) bool { return !e.used[s].Swap(true) }

// Used reports whether any socket ever heard a style.
func (e *Emitter) Used(s vocabulary.Style) bool { return e.used[s].Load() }

// inUse lists the styles in use, the preset first: a socket that takes on another style while an
// event goes out so hears it in one of the two at least.
func (e *Emitter) inUse(preset vocabulary.Style) []vocabulary.Style {
	styles := append(make([]vocabulary.Style, 0, len(e.used)), preset)
	for _, s := range vocabulary.Styles() {
		if s != preset && e.Used(s) {
			styles = append(styles, s)
		}
	}
	return styles
}

// Emit sends an occasion in each style in use, to every socket of this node that is in any of the
// rooms it goes to, once. Other nodes do the same when they hear of it: which styles are in use
// each knows of itself.
func (e *Emitter) Emit(to Audience, o *vocabulary.Occasion) {
	words := e.opts.Words()
	e.sent.WithLabelValues(o.Event.String()).Inc()
	styles := e.inUse(words.Preset())
	said := words.Say(styles[0], o)
	e.opts.Relay(to, said)
	if words.SaysAlike(o.Event) {
		e.send(to, said, nil, 0)
		return
	}
	for i, style := range styles {
		var others []string
		for _, other := range styles {
			if other != style {
				others = append(others, StyleRoom(other))
			}
		}
		if i > 0 {
			said = words.Say(style, o)
		}
		e.send(to, said, others, rank(style, styles[0]))
	}
}

func (e *Emitter) send(to Audience, said []vocabulary.Utterance, others []string, rank uint64) {
	except := append(slices.Clip(others), to.Except...)
	for i, u := range said {
		for _, target := range e.Targets(to, u, except) {
			_ = e.here(target, to, rank, uint64(i)).Emit(u.Name, Values(u.Args)...) // raw JSON can always be encoded
		}
	}
}

// Everybody sends an event to every socket of this node that is somebody's; nothing where it has no
// name.
func (e *Emitter) Everybody(name string, payload json.RawMessage) {
	if name == "" {
		return
	}
	for _, space := range e.spaces {
		_ = e.here(space.Except(WaitingRoom), Audience{}, 0, 0).Emit(name, payload) // raw JSON can always be encoded
	}
}

// To sends an occasion to one socket, in its style and whomever else it would go to. It stops where
// the socket is going: its disconnect is logged.
func (e *Emitter) To(s *socketio.Socket, style vocabulary.Style, o *vocabulary.Occasion) {
	e.sent.WithLabelValues(o.Event.String()).Inc()
	for _, u := range e.opts.Words().Say(style, o) {
		if s.Emit(u.Name, Values(u.Args)...) != nil {
			return
		}
	}
}

// Targets chooses who an utterance goes to, in each namespace; none where it goes to nobody.
func (e *Emitter) Targets(to Audience, u vocabulary.Utterance, except []string) []*socketio.Target {
	rooms := to.Rooms(u.To)
	except = slices.Clip(except)
	switch {
	case u.To&vocabulary.ToAll != 0:
		rooms, except = nil, append(except, WaitingRoom) // every socket that is somebody's
	case len(rooms) == 0:
		return nil
	}
	if u.ExceptSender {
		except = append(except, to.Sender...)
	}
	targets := make([]*socketio.Target, len(e.spaces))
	for i, space := range e.spaces {
		targets[i] = space.To(rooms...).Except(except...)
	}
	return targets
}

// Values are arguments for an event.
func Values(args []json.RawMessage) []any {
	values := make([]any, len(args))
	for i, arg := range args {
		values[i] = arg
	}
	return values
}

// Bounds of what makes up the last part of a mark.
const (
	maxSaid   = 32 // utterances of one event in one style
	maxStyles = 8
	// LastPart comes after every event of one change.
	LastPart = 1<<12 - 1
)

// here has an event go to this node's sockets, marked as one that every node emits where they do.
func (e *Emitter) here(t *socketio.Target, to Audience, rank, nth uint64) *socketio.Target {
	switch {
	case !e.opts.Mirrored() || to.Row && to.Place == (feed.Place{}):
		return t.Local()
	case to.Row:
		k := (to.Nth*maxStyles+rank)*maxSaid + min(nth, maxSaid-1)
		return t.Mirrored(socketio.Mark{Term: to.Place.Term, N: to.Place.N, K: min(k, LastPart-1)})
	default:
		return t.Mirrored(socketio.Mark{})
	}
}

// rank is where a style comes among all, whichever of them are in use: the preset first.
func rank(s, preset vocabulary.Style) uint64 {
	if s == preset {
		return 0
	}
	return uint64(slices.Index(vocabulary.Styles(), s) + 1)
}
