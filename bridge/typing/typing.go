// Package typing knows who is typing in which conversation, and when it ended: by the client's
// word, by time, by a message of that user, or because the socket left.
//
//	t := typing.New(typing.Options{Timeout: 5 * time.Second, Repeat: 2 * time.Second})
//	go t.Run(ctx, func(c typing.Change) { … }) // tells the others in the conversation
//	t.Start(conversation, socket, who, true)
//	t.Stop(conversation.Text, socket, who)
//
// A user who types in two windows is typing until both have stopped.
//
// A client that is typing says so again and again. To pass on each sign would multiply it by all
// who listen. To pass on the first alone loses frontends that clear what they show some seconds
// after the last sign. So while it goes on, a sign is passed on once every Repeat. One that comes
// too soon waits until that time, so that two that are passed on are never further apart than
// Repeat and the client's own interval.
//
// A mutex guards the state. Timers fire on goroutines of their own and take it. Changes go into a
// queue under the mutex, and Run's goroutine passes them on in that order, outside it.
package typing

import (
	"context"
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/fifo"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// Options may change while typing is followed.
type Options struct {
	Timeout time.Duration // after the last sign typing ends by itself
	Repeat  time.Duration // between two signs that are passed on; 0: only the first is
}

// Change is what others in a conversation are told.
type Change struct {
	Conversation vocabulary.ID // as the client spelled it that began
	Who          *auth.Identity
	Typing       bool // false: it ended
	Local        bool // a socket of this node takes part in it
}

// Bounds.
const (
	maxWriters = 100_000 // users who type at one time, at all nodes: beyond it nobody begins to
	maxChanges = 100_000 // changes that wait for Run: beyond it beginnings are dropped, ends never
)

// Tracker follows who is typing. It is safe for concurrent use.
type Tracker struct {
	changes *fifo.Queue[Change]

	mu      sync.Mutex // guards what follows
	opts    Options
	writers map[writer]*writing
}

type writer struct{ conversation, user string }

type writing struct {
	id      vocabulary.ID // of the conversation
	who     *auth.Identity
	sockets map[string]struct{}
	local   bool
	until   time.Time // when it ends by itself
	timer   *time.Timer
	passed  time.Time   // when the last sign was passed on
	again   *time.Timer // running until due, while a sign waits to be passed on
	due     time.Time
}

// New makes a Tracker. Close stops its timers.
func New(opts Options) *Tracker {
	return &Tracker{
		changes: fifo.New(maxChanges, func(c Change) bool { return c.Typing }),
		opts:    opts, writers: make(map[writer]*writing),
	}
}

// Update sets other options; they hold from the next sign of typing on.
func (t *Tracker) Update(opts Options) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opts = opts
}

// Run passes each change to emit, in order, until ctx ends. emit must not wait for clients.
func (t *Tracker) Run(ctx context.Context, emit func(Change)) { t.changes.Run(ctx, emit) }

// Start notes a sign that a user types. Repeated within the timeout it prolongs that. The socket is
// any key that Stop names again; local reports whether it is a socket of this node.
func (t *Tracker) Start(conversation vocabulary.ID, socket string, who *auth.Identity, local bool) {
	key := writer{conversation.Text, who.UserID}
	t.mu.Lock()
	defer t.mu.Unlock()
	w, typing := t.writers[key]
	if !typing && len(t.writers) >= maxWriters {
		return
	}
	if !typing {
		w = &writing{id: conversation, who: who, sockets: make(map[string]struct{}, 1)}
		w.timer = time.AfterFunc(t.opts.Timeout, func() { t.expire(key, w) })
		t.writers[key] = w
	} else {
		w.timer.Reset(t.opts.Timeout)
	}
	w.until = time.Now().Add(t.opts.Timeout)
	w.sockets[socket] = struct{}{}
	w.local = w.local || local
	switch wait := t.opts.Repeat - time.Since(w.passed); {
	case !typing, t.opts.Repeat > 0 && wait <= 0:
		t.passOn(w)
	case t.opts.Repeat > 0 && w.again == nil:
		w.due = time.Now().Add(wait)
		w.again = time.AfterFunc(wait, func() { t.passOnLater(key, w) })
	}
}

// passOn passes a sign of typing on. The caller holds mu.
func (t *Tracker) passOn(w *writing) {
	if w.again != nil {
		w.again.Stop()
		w.again = nil
	}
	w.passed = time.Now()
	t.changes.Push(Change{Conversation: w.id, Who: w.who, Typing: true, Local: w.local})
}

// passOnLater passes on the sign that waited, unless typing ended or a sign was passed on
// meanwhile.
func (t *Tracker) passOnLater(key writer, w *writing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writers[key] == w && w.again != nil && !time.Now().Before(w.due) {
		t.passOn(w)
	}
}

// Stop notes that a user stopped in one socket. It reports whether the user was typing there.
// Others hear of it when it was the last socket.
func (t *Tracker) Stop(conversation, socket string, who *auth.Identity) bool {
	key := writer{conversation, who.UserID}
	t.mu.Lock()
	defer t.mu.Unlock()
	w, typing := t.writers[key]
	if !typing {
		return false
	}
	_, there := w.sockets[socket]
	delete(w.sockets, socket)
	if len(w.sockets) == 0 {
		t.end(key, w)
	}
	return there
}

// Wrote notes that a message of the user's came: what was being typed has arrived, in whichever
// window it was.
func (t *Tracker) Wrote(conversation, user string) {
	key := writer{conversation, user}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w, typing := t.writers[key]; typing {
		t.end(key, w)
	}
}

// expire ends what w began, unless it was prolonged at the last moment or something newer took its
// place.
func (t *Tracker) expire(key writer, w *writing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writers[key] == w && !time.Now().Before(w.until) {
		t.end(key, w)
	}
}

// end ends typing. The caller holds mu.
func (t *Tracker) end(key writer, w *writing) {
	w.stopTimers()
	delete(t.writers, key)
	t.changes.Push(Change{Conversation: w.id, Who: w.who, Local: w.local})
}

func (w *writing) stopTimers() {
	w.timer.Stop()
	if w.again != nil {
		w.again.Stop()
	}
}

// Writers is how many users are typing, each counted once in each conversation.
func (t *Tracker) Writers() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.writers)
}

// Close stops every timer. Nobody is told.
func (t *Tracker) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, w := range t.writers {
		w.stopTimers()
		delete(t.writers, key)
	}
}
