package bridge

import (
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// typing tells a conversation who is typing in it, and that it ended: by the client's word, by time, or because the socket left. A user typing in two
// windows is typing until both have stopped. What others are told goes to nobody's own sockets.
//
// The mutex guards all fields; timers fire on goroutines of their own and take it. The others are told under it, so that they hear of things in the order
// in which these happened; telling never waits for a client.
type typing struct {
	timeout func() time.Duration // asked at each sign of typing
	tell    func(conversation string, from *Identity, event vocabulary.Event)

	mu      sync.Mutex
	writers map[writer]*writing
}

type writer struct{ conversation, user string }

type writing struct {
	who     *Identity
	sockets map[string]struct{} // the sockets it is seen in, by id
	timer   *time.Timer
}

func newTyping(timeout func() time.Duration, tell func(string, *Identity, vocabulary.Event)) *typing {
	return &typing{timeout: timeout, tell: tell, writers: make(map[writer]*writing)}
}

// start notes that a user types. Repeated within the timeout it only prolongs: the others are told once.
func (t *typing) start(conversation, socket string, who *Identity) {
	key := writer{conversation, who.UserID}
	t.mu.Lock()
	defer t.mu.Unlock()
	w, typing := t.writers[key]
	if !typing {
		w = &writing{who: who, sockets: make(map[string]struct{}, 1)}
		w.timer = time.AfterFunc(t.timeout(), func() { t.expire(key, w) })
		t.writers[key] = w
	} else {
		w.timer.Reset(t.timeout())
	}
	w.sockets[socket] = struct{}{}
	if !typing {
		t.tell(conversation, who, vocabulary.TypingStarted)
	}
}

// stop notes that a user stopped in one socket. The others are told when it was the last one.
func (t *typing) stop(conversation, socket string, who *Identity) {
	key := writer{conversation, who.UserID}
	t.mu.Lock()
	defer t.mu.Unlock()
	w, typing := t.writers[key]
	if !typing {
		return
	}
	delete(w.sockets, socket)
	if len(w.sockets) == 0 {
		w.timer.Stop()
		t.end(key, w)
	}
}

// expire ends what w began, unless something newer took its place.
func (t *typing) expire(key writer, w *writing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writers[key] == w {
		t.end(key, w)
	}
}

func (t *typing) end(key writer, w *writing) {
	delete(t.writers, key)
	t.tell(key.conversation, w.who, vocabulary.TypingStopped)
}

// close stops every timer; nobody is told.
func (t *typing) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, w := range t.writers {
		w.timer.Stop()
		delete(t.writers, key)
	}
}
