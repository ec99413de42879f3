package bridge

import (
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// typing tells a conversation who is typing in it, and that it ended: by the client's word, by time, by a message of that user, or because the socket left. A
// user typing in two windows is typing until both have stopped. What others are told goes to nobody's own sockets.
//
// A client that is typing says so again and again. Passing on each time would multiply it by all who listen; passing on the first alone loses frontends
// that clear what they show some seconds after they last heard of it. So while it goes on it is passed on once every repeat: what comes too soon is kept
// until that time, so that two that are told are never further apart than repeat and the client's own interval.
//
// The mutex guards all fields; timers fire on goroutines of their own and take it. The others are told under it, so that they hear of things in the order
// in which these happened; telling never waits for a client.
type typing struct {
	timeout func() time.Duration // asked at each sign of typing
	repeat  func() time.Duration // likewise; 0: only the first is passed on
	tell    func(typed)

	mu      sync.Mutex
	writers map[writer]*writing
}

// typed is a sign of typing that others are told of.
type typed struct {
	conversation vocabulary.ID // as the client spelled it that began
	who          *auth.Identity
	event        vocabulary.Event
	here         bool // a socket of this bridge's takes part in it, not only a client of Supabase Realtime
}

type writer struct{ conversation, user string }

type writing struct {
	id      vocabulary.ID // of the conversation
	who     *auth.Identity
	sockets map[string]struct{} // those it is seen in, by key
	here    bool
	until   time.Time // when it ends by itself
	timer   *time.Timer
	told    time.Time
	again   *time.Timer // running until due, while a sign waits to be passed on
	due     time.Time
}

// overRealtime begins the keys of those who are no sockets of this bridge's.
const overRealtime = "realtime:"

// maxWriters bounds those who type at one time, at all nodes: beyond it nobody begins to.
const maxWriters = 100_000

func newTyping(timeout, repeat func() time.Duration, tell func(typed)) *typing {
	return &typing{timeout: timeout, repeat: repeat, tell: tell, writers: make(map[writer]*writing)}
}

// start notes that a user types. Repeated within the timeout it prolongs that.
func (t *typing) start(conversation vocabulary.ID, socket string, who *auth.Identity) {
	key := writer{conversation.Text, who.UserID}
	timeout, repeat := t.timeout(), t.repeat()
	t.mu.Lock()
	defer t.mu.Unlock()
	w, typing := t.writers[key]
	if !typing && len(t.writers) >= maxWriters {
		return
	}
	if !typing {
		w = &writing{id: conversation, who: who, sockets: make(map[string]struct{}, 1)}
		w.timer = time.AfterFunc(timeout, func() { t.expire(key, w) })
		t.writers[key] = w
	} else {
		w.timer.Reset(timeout)
	}
	w.until = time.Now().Add(timeout)
	w.sockets[socket] = struct{}{}
	w.here = w.here || !notHere(socket)
	switch wait := repeat - time.Since(w.told); {
	case !typing, repeat > 0 && wait <= 0:
		t.say(key, w)
	case repeat > 0 && w.again == nil:
		w.due = time.Now().Add(wait)
		w.again = time.AfterFunc(wait, func() { t.sayAgain(key, w) })
	}
}

func (t *typing) say(key writer, w *writing) {
	if w.again != nil {
		w.again.Stop()
		w.again = nil
	}
	w.told = time.Now()
	t.tell(typed{w.id, w.who, vocabulary.TypingStarted, w.here})
}

// sayAgain passes on the sign that waited, unless what it belongs to ended or it was passed on meanwhile.
func (t *typing) sayAgain(key writer, w *writing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writers[key] == w && w.again != nil && !time.Now().Before(w.due) {
		t.say(key, w)
	}
}

// stop notes that a user stopped in one socket; false where it was not typed in. The others are told when it was the last one.
func (t *typing) stop(conversation, socket string, who *auth.Identity) bool {
	key := writer{conversation, who.UserID}
	t.mu.Lock()
	defer t.mu.Unlock()
	w, typing := t.writers[key]
	if !typing {
		return false
	}
	_, here := w.sockets[socket]
	delete(w.sockets, socket)
	if len(w.sockets) == 0 {
		t.end(key, w)
	}
	return here
}

// wrote notes that a message of the user's came: what was being typed is there, in whichever window it was.
func (t *typing) wrote(conversation, user string) {
	key := writer{conversation, user}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w, typing := t.writers[key]; typing {
		t.end(key, w)
	}
}

// expire ends what w began, unless it was prolonged at the last moment or something newer took its place.
func (t *typing) expire(key writer, w *writing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writers[key] == w && !time.Now().Before(w.until) {
		t.end(key, w)
	}
}

func (t *typing) end(key writer, w *writing) {
	w.stopTimers()
	delete(t.writers, key)
	t.tell(typed{w.id, w.who, vocabulary.TypingStopped, w.here})
}

func (w *writing) stopTimers() {
	w.timer.Stop()
	if w.again != nil {
		w.again.Stop()
	}
}

// close stops every timer; nobody is told.
func (t *typing) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, w := range t.writers {
		w.stopTimers()
		delete(t.writers, key)
	}
}
