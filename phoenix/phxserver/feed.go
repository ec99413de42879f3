package phxserver

import (
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// maxPendingTransactions bounds what waits for the next round. Beyond it
// transactions are dropped without a word, as the real server does when it is
// overloaded.
const maxPendingTransactions = 1 << 16

// idleRounds is how much longer than Timing.Poll a round that found nothing waits.
const idleRounds = 5

// feed takes changes from the backend and hands them to subscribed channels: as
// part of the commit, or, with Timing.Poll, in rounds that one goroutine makes.
type feed struct {
	srv    *Server
	cancel func()        // ends Backend.Watch
	wake   chan struct{} // holds a token when somebody has subscribed
	done   chan struct{}
	once   sync.Once

	pendingMu sync.Mutex // guards pending, apart from mu since commits take it
	pending   [][]Change

	mu       sync.Mutex // guards the rest
	byTable  map[tableKey][]*subscription
	channels map[*channel][]tableKey
	anew     *time.Timer // of Timing.Publication; nil or over without a change to come
}

func newFeed(srv *Server) *feed {
	f := &feed{
		srv:      srv,
		wake:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		byTable:  make(map[tableKey][]*subscription),
		channels: make(map[*channel][]tableKey),
	}
	f.cancel = srv.backend.Watch(f.commit)
	return f
}

func (f *feed) close() {
	f.once.Do(func() {
		f.cancel()
		f.mu.Lock()
		stopTimer(f.anew)
		f.mu.Unlock()
		close(f.done)
	})
}

func (f *feed) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// commit takes a transaction. Without subscribers there is no slot in the database
// that would keep it.
func (f *feed) commit(tx []Change) {
	if !f.listening() {
		return
	}
	if f.srv.opts.Timing.Poll <= 0 {
		for i := range tx {
			f.deliver(&tx[i])
		}
		return
	}
	f.pendingMu.Lock()
	if len(f.pending) < maxPendingTransactions {
		f.pending = append(f.pending, tx)
	}
	f.pendingMu.Unlock()
}

func (f *feed) listening() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.channels) > 0
}

// set replaces a channel's subscriptions.
func (f *feed) set(ch *channel, subs map[tableKey][]*subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removeLocked(ch)
	for key, list := range subs {
		f.byTable[key] = append(f.byTable[key], list...)
		f.channels[ch] = append(f.channels[ch], key)
	}
	f.signal()
}

// PublicationChanged tells the server that other tables are published than before:
// after Timing.Publication every channel that is subscribed to changes is subscribed
// anew, with another "Subscribed to PostgreSQL", or an error where its table has gone.
// One whose subscription had failed is left as it is, as the real server leaves it.
func (s *Server) PublicationChanged() {
	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.done:
		return
	default:
	}
	if f.anew == nil {
		f.anew = time.AfterFunc(s.opts.Timing.Publication, f.subscribeAnew)
	} else {
		f.anew.Reset(s.opts.Timing.Publication)
	}
}

func (f *feed) subscribeAnew() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.channels {
		ch.socket.leaveMail(mail{do: func() {
			if !ch.stopped {
				ch.makeSubscriptions()
			}
		}})
	}
}

func (f *feed) remove(ch *channel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removeLocked(ch)
}

// removeLocked leaves the slices alone that a round may be reading.
func (f *feed) removeLocked(ch *channel) {
	for _, key := range f.channels[ch] {
		var kept []*subscription
		for _, sub := range f.byTable[key] {
			if sub.ch != ch {
				kept = append(kept, sub)
			}
		}
		if len(kept) == 0 {
			delete(f.byTable, key)
		} else {
			f.byTable[key] = kept
		}
	}
	delete(f.channels, ch)
}

// run makes the rounds of Timing.Poll while somebody is subscribed.
func (f *feed) run() {
	poll := f.srv.opts.Timing.Poll
	timer := time.NewTimer(poll)
	defer timer.Stop()
	timer.Stop()
	ticking := false
	for {
		select {
		case <-f.done:
			return
		case <-f.wake:
			if poll > 0 && !ticking {
				ticking = true
				timer.Reset(0)
			}
		case <-timer.C:
			if ticking = f.listening(); !ticking {
				continue
			}
			switch found, delivered := f.round(); {
			case delivered:
				timer.Reset(0)
			case found:
				timer.Reset(poll)
			default:
				timer.Reset(idleRounds * poll)
			}
		}
	}
}

// round delivers what is pending; a stalled feed loses it.
func (f *feed) round() (found, delivered bool) {
	f.pendingMu.Lock()
	pending := f.pending
	f.pending = nil
	f.pendingMu.Unlock()

	for _, tx := range pending {
		for i := range tx {
			found = true
			if f.deliver(&tx[i]) {
				delivered = true
			}
		}
	}
	return found, delivered
}

// hit is what one channel gets of one change: the bindings that match and ask for
// the same columns.
type hit struct {
	ch   *channel
	key  string // what is told: the selected columns
	sub  *subscription
	subs []*subscription
}

// deliver hands one change to the channels it matches, one message for each.
func (f *feed) deliver(c *Change) bool {
	f.mu.Lock()
	subs := f.byTable[tableKey{c.Table.Schema, c.Table.Name}]
	f.mu.Unlock()
	if len(subs) == 0 || f.srv.faults.strike("", wire.EventChanges, "out", Stall) != nil || c.Type == "TRUNCATE" {
		return false
	}
	row := filterRow(c)
	var hits []*hit
	index := make(map[hitKey]*hit)
	matched := 0
	for _, sub := range subs {
		if !sub.wants(c.Type, row) || !f.visible(sub, c) {
			continue
		}
		matched++
		k := hitKey{sub.ch, sub.selKey}
		h := index[k]
		if h == nil {
			h = &hit{ch: sub.ch, key: sub.selKey, sub: sub}
			index[k] = h
			hits = append(hits, h)
		}
		h.subs = append(h.subs, sub)
	}
	if matched == 0 || !f.srv.limiter.admitChanges(matched) {
		return false
	}
	docs := make(map[string][]byte)
	for _, h := range hits {
		data, ok := docs[h.key]
		if !ok {
			data = appendRow(nil, c, h.sub.selected, f.srv.opts)
			docs[h.key] = data
		}
		h.ch.socket.leaveMail(mail{out: &delivery{msg: changeMessage(h, c, data)}})
	}
	return true
}

type hitKey struct {
	ch  *channel
	sel string
}

// filterRow is the row that filters are tested on.
func filterRow(c *Change) map[string]json.RawMessage {
	if c.Type != "DELETE" || c.FullIdentity {
		if c.Type == "DELETE" {
			return c.Old
		}
		return c.New
	}
	row := make(map[string]json.RawMessage, len(c.Table.Key))
	for _, name := range c.Table.Key {
		row[name] = c.Old[name]
	}
	return row
}

// visible asks row level security, which doesn't apply to a DELETE: all who
// subscribed see its key. It is asked as of now, not as of the change.
func (f *feed) visible(sub *subscription, c *Change) bool {
	if !c.RLS || c.Type == "DELETE" || len(c.Table.Key) == 0 {
		return true
	}
	return f.srv.backend.Visible(sub.claims, c.Table.Schema, c.Table.Name, c.New)
}

// changeMessage wraps a row for a channel. The ids of its bindings go last first,
// as they come out of the real server; a legacy channel gets the row bare.
func changeMessage(h *hit, c *Change, data []byte) wire.Message {
	if h.ch.config.legacy {
		return wire.Message{Topic: h.ch.topic, Event: c.Type, Payload: data}
	}
	p := make([]byte, 0, len(data)+32)
	p = append(append(p, `{"data":`...), data...)
	p = append(p, `,"ids":[`...)
	for i := len(h.subs) - 1; i >= 0; i-- {
		p = strconv.AppendUint(p, uint64(h.subs[i].id), 10)
		if i > 0 {
			p = append(p, ',')
		}
	}
	return wire.Message{Topic: h.ch.topic, Event: wire.EventChanges, Payload: append(p, "]}"...)}
}
