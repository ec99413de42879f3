package feed

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/phoenix"
)

// Several feeds that hear Realtime and read for themselves cost Supabase as many times as much. So
// one can lead, and tell the others by a bus what it passes on: to them the bus is a lane like the
// two of Realtime (lane.go), and Realtime is silent. A feed that is led reads once when the bus
// begins, and when it missed something there. It can be told at any time to hear Realtime for
// itself, be it to lead or because nobody is heard: what it knows of rows, and of how far they have
// been read, makes that no different from Realtime having been away for a while.
//
// Who leads, and when a feed hears Realtime for itself, is for whoever runs it to say.

// Place is where a change is in what leaders pass on: the number of the leader's term and of the
// change within it. The zero Place is none.
type Place struct{ Term, N uint64 }

// BusEvent is what comes by the bus.
type BusEvent interface{ busEvent() }

// The events of a bus.
type (
	// BusLive means that from here on everything comes that the leader passes on.
	BusLive struct{}
	// BusGap means that something did not come, of what the leader passed on since an instant.
	BusGap struct {
		Since  time.Time
		Reason string
	}
	// BusLost means that nothing comes any more.
	BusLost struct{ Reason string }
	// BusChange is a change that the leader has passed on.
	BusChange struct{ Change Change }
	// BusResync means that the leader may have missed deletes since an instant.
	BusResync struct {
		Since  time.Time
		Reason string
	}
	// BusMark tells how the leader stands; what it passed on before has come before.
	BusMark struct{ Mark Mark }
	// BusLed means that from here on the feed is led, and Realtime is silent, or it hears Realtime for
	// itself. Where it is to lead, Since is when a leader before it was heard last by anybody; zero:
	// there was none.
	BusLed struct {
		Led   bool
		Since time.Time
	}
	// BusOffer is what Offer takes, of another node.
	BusOffer struct {
		Table  string
		Action Action
		Record json.RawMessage
	}
	// BusDo is run by the feed once all before it is done.
	BusDo func()
)

func (BusLive) busEvent()   {}
func (BusGap) busEvent()    {}
func (BusLost) busEvent()   {}
func (BusChange) busEvent() {}
func (BusResync) busEvent() {}
func (BusMark) busEvent()   {}
func (BusLed) busEvent()    {}
func (BusOffer) busEvent()  {}
func (BusDo) busEvent()     {}

// told is a Change on its way to other nodes.
type told struct {
	Table  string          `json:"table"`
	Action Action          `json:"action"`
	Row    json.RawMessage `json:"row,omitempty"`
	Old    json.RawMessage `json:"old,omitempty"`
	Commit time.Time       `json:"commit,omitzero"`
	Heard  time.Time       `json:"heard,omitzero"`
	Found  bool            `json:"found,omitempty"`
	Again  bool            `json:"again,omitempty"`
}

// MarshalJSON writes a change for the bus. Its rows are written as they came from Supabase.
func (c Change) MarshalJSON() ([]byte, error) {
	return json.Marshal(told{c.Table, c.Action, c.Row.Record, c.Old.Record, c.Commit, c.heard, c.Found, c.Again})
}

// UnmarshalJSON is the reverse. It fails on what is no change.
func (c *Change) UnmarshalJSON(text []byte) error {
	var t told
	if err := json.Unmarshal(text, &t); err != nil {
		return err
	}
	*c = Change{Table: t.Table, Action: t.Action, Commit: t.Commit, Found: t.Found, Again: t.Again, heard: t.Heard}
	for _, part := range []struct {
		record json.RawMessage
		row    *row.Row
	}{{t.Row, &c.Row}, {t.Old, &c.Old}} {
		if len(part.record) == 0 {
			continue
		}
		var err error
		if *part.row, err = row.Parse(part.record); err != nil {
			return err
		}
	}
	if c.Table == "" || c.Action == Delete && len(c.Old.Columns) == 0 || c.Action != Delete && len(c.Row.Columns) == 0 {
		return errNoChange
	}
	return nil
}

var errNoChange = errors.New("feed: not a change")

// Mark is how a feed stands, for those it leads.
type Mark struct {
	State  State         `json:"state"`
	Reason string        `json:"reason,omitempty"`
	Lag    time.Duration `json:"lag"`
	// Read is when its last pass of reading ended well, Began when that began, and Left the oldest
	// version that it left to the live feed; see Feed.Settled.
	Read  time.Time `json:"read"`
	Began time.Time `json:"began"`
	Left  time.Time `json:"left,omitzero"`
	// Heard is the commit of the last change heard.
	Heard time.Time `json:"heard,omitzero"`
	// Cursors are how far each table has been read, as text of a timestamp; see strand.name.
	Cursors map[string]string `json:"cursors"`
}

// Mark tells how the feed stands. For Do.
func (f *Feed) Mark() Mark {
	r := f.Report()
	m := Mark{
		State:   r.State,
		Reason:  r.Reason,
		Lag:     r.Lag,
		Read:    f.ReadAt(),
		Began:   f.read.passed.began,
		Left:    f.read.passed.left,
		Heard:   f.heardCommit,
		Cursors: make(map[string]string, len(f.tables)),
	}
	for _, t := range f.tables {
		for _, s := range t.strands {
			m.Cursors[s.name(t.Name)] = s.cursor.text
		}
	}
	if f.rereads.waits() || f.read.passed.odd {
		m.Began = time.Time{} // something waits, or was left, that it would vouch for
	}
	return m
}

// leading is what a feed knows of the one that leads it. Owned by Run's goroutine.
type leading struct {
	led   bool // Realtime is silent
	bus   lineState
	heard time.Time // when something came by the bus
	mark  Mark
	again struct{ taken, from time.Time } // see tellAgain; zero: nothing is to be
}

// hearBus takes an event of the bus.
func (f *Feed) hearBus(ctx context.Context, event BusEvent) {
	l := &f.lead
	switch e := event.(type) {
	case BusLive:
		if !l.bus.live {
			l.bus = lineState{live: true, since: time.Now()}
			f.flows(byBus)
			f.want()
		}
	case BusGap:
		f.interrupted(byBus)
		if !f.stands(byBus) && f.gap == nil {
			f.gap = &phoenix.Gap{Since: e.Since, Reason: phoenix.GapReason(e.Reason)}
		}
		f.busLost(e.Reason)
		f.opts.Sink.Differs(Place{})
		l.bus = lineState{live: true, since: time.Now()}
		f.flows(byBus)
		f.want()
	case BusLost:
		f.busLost(e.Reason)
	case BusChange:
		l.heard = time.Now()
		f.heardBus(ctx, e.Change)
	case BusResync:
		f.opts.Sink.Resync(e.Since, e.Reason)
	case BusMark:
		l.heard = time.Now()
		f.follow(e.Mark)
	case BusLed:
		f.setLed(e)
	case BusOffer:
		if t := f.table(e.Table); t != nil {
			if c := (Change{Table: e.Table, Action: e.Action, Row: parse(e.Record)}); !f.blocked(t, c) {
				f.offer(ctx, t, c)
			}
		}
	case BusDo:
		e()
	}
	f.report()
}

// heardBus passes a change on that came by the bus.
func (f *Feed) heardBus(ctx context.Context, c Change) {
	t := f.table(c.Table)
	if t == nil {
		return
	}
	f.heardAt = time.Now()
	if c.Commit.After(f.heardCommit) {
		f.heardCommit, f.lastLag = c.Commit, max(0, time.Since(c.Commit))
		f.saw(c.Commit, f.heardAt)
	}
	f.queue(ctx, t, c, byBus, func(j *job) {
		passed := false
		switch {
		case t.merger.precedes(c):
			f.stats.repeats.Add(1)
		case c.Again:
			passed = f.offer(ctx, t, j.change)
		default:
			passed = f.merge(j)
		}
		if !passed {
			f.opts.Sink.Differs(j.change.Place)
		}
	})
}

// tellAgain tells those that this feed leads of a row that it knows already. Who takes the lead may
// know of rows that the leader before, which died, told nobody: a feed that has just started takes
// what it finds for known, and one may have read for itself. So what was committed since that
// leader was heard last, and somewhat before, is told once more: who knows it drops it.
func (f *Feed) tellAgain(ctx context.Context, t *tableFeed, r row.Row) {
	if again := f.lead.again; !again.taken.IsZero() && t.version(r).at.After(again.from) {
		f.opts.Sink.Again(ctx, Change{Table: t.Name, Action: Update, Row: r, Found: true, Again: true})
	}
}

// toldAgain notes that a pass which began at an instant has seen all that is to be told again.
func (f *Feed) toldAgain(began time.Time) {
	if again := &f.lead.again; !began.Before(again.taken) {
		again.taken = time.Time{}
	}
}

// follow takes over how the leader stands.
func (f *Feed) follow(m Mark) {
	f.lead.mark = m
	if m.Heard.After(f.heardCommit) {
		f.heardCommit = m.Heard
	}
	if !f.lead.led || !f.whole {
		return
	}
	// The leader's clock may be ahead of this one.
	if p := (pass{began: m.Began.Add(-clockSkew), left: m.Left}); p.began.After(f.read.passed.began) {
		f.read.passed = p
	}
	if m.Read.UnixNano() > f.readAt.Load() {
		f.readAt.Store(m.Read.UnixNano())
	}
	for _, t := range f.tables {
		for _, s := range t.strands {
			text := m.Cursors[s.name(t.Name)]
			if v := (version{text, row.Time(text)}); s.primed && v.at.After(s.cursor.at) {
				s.cursor, s.left = v, m.Left
			}
		}
		t.reach(f.opts.Overlap)
	}
}

// setLed has the feed take Realtime for silent, or hear it for itself from now on.
func (f *Feed) setLed(e BusLed) {
	l := &f.lead
	if !e.Led && !e.Since.IsZero() {
		l.again.taken, l.again.from = time.Now(), e.Since.Add(-f.opts.Overlap)
		f.interrupted(byBus) // perhaps within a transaction
		f.read.doubt = true
		f.want()
	}
	if l.led == e.Led {
		return
	}
	l.led = e.Led
	if l.led {
		main, fast := f.main.live, f.fast.live
		f.main.live, f.fast.live = false, false
		if (main || fast) && !l.bus.live {
			f.ebbs("led, and nothing is heard of the leader")
		}
		return
	}
	if since := earliest(l.heard, e.Since); !since.IsZero() && f.gap == nil {
		f.gap = &phoenix.Gap{Since: since, Reason: "leader"}
	}
	if l.mark.State == Polling { // Realtime was away already
		f.away = time.Now().Add(-f.opts.PollAfter)
	}
	f.want()
}

// earliest is the earlier of two instants, as far as they are known.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// busLost notes that nothing comes by the bus.
func (f *Feed) busLost(reason string) {
	was := f.lead.bus.live
	f.lead.bus.live = false
	if was && !f.stands(byBus) {
		f.ebbs(reason)
	}
}

// covers tells whether a lane beside postgres_changes has brought the deletes since an instant.
func (f *Feed) covers(since time.Time) bool {
	return f.fastStands() && f.fast.since.Before(since) || f.lead.bus.live && f.lead.bus.since.Before(since)
}

// stands tells whether changes flow by another lane than the one given.
func (f *Feed) stands(but lane) bool {
	return but != byChanges && f.main.stands() || but != byBroadcast && f.fastStands() || but != byBus && f.lead.bus.live
}

// led tells whether all that there is comes by the bus: what is true of the leader is then true
// here.
func (f *Feed) led() bool { return f.lead.led && f.lead.bus.live && f.whole }
