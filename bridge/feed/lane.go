package feed

import (
	"context"
	"slices"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// lane is a way by which live changes come.
type lane int

const (
	byNone      lane = iota - 1 // none: a read found it
	byChanges                   // postgres_changes, with the time of the commit
	byBroadcast                 // a broadcast from the database, with the whole row before
	byBus                       // the feed of another node passed it on
	lanes       = iota - 1
)

// state is one state of a row that was passed on, or known to have been gone past.
type state struct {
	mark  uint64    // of its content
	at    time.Time // its version; of a DELETE, up to when versions are taken for older
	found bool      // a read found it
}

// deleteMark is the content of a row that is gone.
const deleteMark = 0

// maxStates bounds the states kept of a row while one lane is behind the other. What a lane brings
// from further back is told by its version.
const maxStates = 32

// history is the states of a row passed on last, oldest first, and how many of them each lane has
// come past. The first are forgotten when all lanes have.
type history struct {
	list []state
	come [lanes]int
}

// last is the state passed on last; the zero state where there is none.
func (h *history) last() state {
	if len(h.list) == 0 {
		return state{}
	}
	return h.list[len(h.list)-1]
}

// caughtUp tells whether a lane has come past everything.
func (h *history) caughtUp(by lane) bool { return h.come[by] == len(h.list) }

// onlyFound tells whether all that a lane has not come to was found by reads.
func (h *history) onlyFound(by lane) bool {
	return !slices.ContainsFunc(h.list[h.come[by]:], func(s state) bool { return !s.found })
}

// advance moves a lane past the next state with this content; false where it has come past all of
// them.
func (h *history) advance(mark uint64, by lane) bool {
	i := slices.IndexFunc(h.list[h.come[by]:], func(s state) bool { return s.mark == mark })
	if i < 0 {
		return false
	}
	h.come[by] += i + 1
	return true
}

// reach moves a lane past the next state of a version that was passed on; false where there is
// none.
func (h *history) reach(version time.Time, by lane) bool {
	i := slices.IndexFunc(h.list[h.come[by]:], func(s state) bool { return s.mark != deleteMark && s.at.Equal(version) })
	if i < 0 {
		return false
	}
	h.come[by] += i + 1
	return true
}

// skip adds a state that was gone past.
func (h *history) skip(s state) { h.list = append(h.list, s) }

// age has the last state, a DELETE, stand for versions up to an instant.
func (h *history) age(at time.Time) {
	if last := &h.list[len(h.list)-1]; at.After(last.at) {
		last.at = at
	}
}

// add adds a state that is passed on, and moves the lane that brought it past it.
func (h *history) add(s state, by lane, used [lanes]bool) {
	h.list = append(h.list, s)
	if by != byNone {
		h.come[by] = len(h.list)
	}
	drop := len(h.list) - 1
	for l, is := range used {
		if is {
			drop = min(drop, h.come[l])
		}
	}
	if drop = max(drop, len(h.list)-maxStates); drop == 0 {
		return
	}
	h.list = append(h.list[:0], h.list[drop:]...)
	for l := range h.come {
		h.come[l] = max(0, h.come[l]-drop)
	}
}

// lineState is how a lane stands.
type lineState struct {
	live  bool
	since time.Time
	heard time.Time // when it brought a change last
	doubt doubt
}

// stands reports whether the lane brings changes, as far as is known.
func (l *lineState) stands() bool { return l.live && l.believed() }

func (f *Feed) fastEvents() <-chan phoenix.Event {
	if f.opts.Fast == nil {
		return nil
	}
	return f.opts.Fast.Events()
}

// hearFast takes an event of the fast lane. One that is lost leaves the other standing: it takes
// the feed's being live away only where it was alone.
func (f *Feed) hearFast(ctx context.Context, event phoenix.Event) {
	switch e := event.(type) {
	case *phoenix.BroadcastMessage:
		f.heardFast(ctx, e)
	case *phoenix.Live:
		f.fast.live, f.fast.since = true, time.Now()
		if !f.live && f.fastStands() {
			f.flows(byBroadcast)
			f.want()
		}
	case *phoenix.Gap:
		f.interrupted(byBroadcast)
		if f.fastStands() && !f.stands(byBroadcast) && f.gap == nil {
			f.gap = e
		}
		f.fastLost(string(e.Reason))
	case *phoenix.Lost:
		f.fastLost(e.Err.Error())
	case *phoenix.Closed:
		f.fastLost("the fast lane was closed")
	}
	f.report()
}

// heardFast passes a change on that a broadcast brought; a message of another shape is none.
func (f *Feed) heardFast(ctx context.Context, m *phoenix.BroadcastMessage) {
	e, ok := m.Change()
	if !ok || m.Replayed {
		return
	}
	t := f.table(e.Table)
	if t == nil {
		return
	}
	t.fast = true
	f.stats.fast.Add(1)
	c := Change{Table: e.Table, Action: Action(e.Type), Row: parse(e.Record), Old: parse(e.OldRecord), heard: time.Now()}
	f.arrived(t, c, byBroadcast)
	f.queue(ctx, t, c, byBroadcast, func(j *job) {
		if t.merger.precedes(c) {
			f.stats.repeats.Add(1)
			return
		}
		f.merge(j)
	})
}

// fastStands tells whether the fast lane is enough by itself.
func (f *Feed) fastStands() bool {
	return f.fast.stands() &&
		(f.opts.FastSure || !slices.ContainsFunc(f.tables, func(t *tableFeed) bool { return !t.fast }))
}

func (f *Feed) fastLost(reason string) {
	alone := f.live && !f.stands(byBroadcast)
	f.fast.live = false
	if alone {
		f.ebbs(reason)
	}
}

// interrupted has the next reads look closer at what a lane brought last.
func (f *Feed) interrupted(by lane) {
	for _, t := range f.tables {
		t.merger.cut(by)
	}
}
