package admin

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/socketio"
)

// Bounds of logins.
const (
	attemptsEvery = time.Second // one login by password each, of all clients together
	attemptsBurst = 5
	sessionFor    = 24 * time.Hour
	maxSessions   = 1000
	maxCredential = 256 // bytes
)

var (
	errInvalid = errors.New("invalid credentials") // the UI knows this text
	errTooMany = errors.New("too many attempts; wait a moment")
)

// login decides who is an admin. Checking a password costs tens of milliseconds of a processor by
// design, so one is checked at a time and few are in a second: somebody who guesses slows down
// other logins by password, and nothing else.
type login struct {
	username, hash []byte
	attempts       *rate.Limiter

	mu       sync.Mutex // guards what follows; checking holds it
	sessions map[string]time.Time
}

func (l *login) init(username, hash string) {
	l.username, l.hash = []byte(username), []byte(hash)
	l.attempts = rate.NewLimiter(rate.Every(attemptsEvery), attemptsBurst)
	l.sessions = make(map[string]time.Time)
}

type credentials struct {
	Username  string `json:"username"`
	Password  string `json:"password"`
	SessionID string `json:"sessionId"`
}

// admit lets an admin in. A new session's id is left in the socket's data.
func (a *Admin) admit(s *socketio.Socket) error {
	s.DeclineRecovery() // an admin that comes back is shown everything anew
	s.SetData(nil)
	h := s.Handshake()
	session, err := a.login.check(h.Auth)
	if err != nil {
		if a.opts.Refused != nil {
			a.opts.Refused(h.RemoteAddr, err)
		}
		return &socketio.ConnectError{Message: err.Error()}
	}
	if session != "" {
		s.SetData(session)
	}
	return nil
}

// check returns the id of a new session where a password was given, and none where a session was.
func (l *login) check(auth json.RawMessage) (session string, err error) {
	var c credentials
	if json.Unmarshal(auth, &c) != nil || len(c.Username)+len(c.Password)+len(c.SessionID) > maxCredential {
		return "", errInvalid
	}
	if c.SessionID != "" {
		if l.known(c.SessionID) {
			return "", nil
		}
		return "", errInvalid
	}
	if c.Username == "" && c.Password == "" {
		return "", errInvalid // a UI that has not asked yet: no guess
	}
	if !l.attempts.Allow() {
		return "", errTooMany
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	same := subtle.ConstantTimeCompare([]byte(c.Username), l.username) == 1
	if err := bcrypt.CompareHashAndPassword(l.hash, []byte(c.Password)); err != nil || !same {
		return "", errInvalid
	}
	return l.open(), nil
}

// open makes a session. The caller holds mu.
func (l *login) open() string {
	now := time.Now()
	var oldest string
	for id, until := range l.sessions {
		if now.After(until) {
			delete(l.sessions, id)
		} else if oldest == "" || until.Before(l.sessions[oldest]) {
			oldest = id
		}
	}
	if len(l.sessions) >= maxSessions {
		delete(l.sessions, oldest)
	}
	id := rand.Text()
	l.sessions[id] = now.Add(sessionFor)
	return id
}

func (l *login) known(session string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.sessions[session]
	return ok && time.Now().Before(until)
}
