// Package publish takes events from the application's own server and sends them to browsers, over
// HTTP, in two dialects.
//
//	handler := publish.New(publish.Options{Secret: []byte(secret)}, sender)
//	mux.HandleFunc("POST /api/publish", handler.Publish)
//	mux.HandleFunc("POST /api/disconnect", handler.Disconnect)
//
// A request shows the secret as a bearer token, or is signed with it: X-Bridge-Signature:
// t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">. The package starts no goroutine.
package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/supabridge/supabridge/bridge/body"
)

// Defaults of Options.
const (
	DefaultWindow         = 5 * time.Minute
	DefaultIdempotencyFor = 10 * time.Minute
	DefaultMaxBody        = 1 << 20
	DefaultMaxBatch       = 100
)

// Bounds that are not worth a knob.
const (
	maxKeys  = 100_000 // idempotency keys remembered
	maxRooms = 1000    // of one event
	maxName  = 256     // bytes of an event's name, an idempotency key
)

// Event is one thing to send. Rooms has at least one.
type Event struct {
	Name   string
	Rooms  []string
	Users  []string // all sockets of these users, besides Rooms
	Except []string // sockets that do not get it
	Data   json.RawMessage
}

// Whom says whose connections to close: one of the three.
type Whom struct {
	User   string `json:"user"`
	Tenant string `json:"tenant"`
	Socket string `json:"socket"`
}

// Sender sends to browsers. Its methods must not wait for them, and are called by any goroutine.
type Sender interface {
	// Send tells how many sockets of this node it reached.
	Send(Event) (reached int, err error)
	// Elsewhere tells how many sockets of other nodes events that were sent reached, one by one, and
	// how many nodes have not said so in time. It waits for that, for a second at most.
	Elsewhere(context.Context, []Event) (reached []int, missing int)
	// Disconnect tells how many sockets it reached, on all nodes, and how many nodes have not said so
	// in time. It waits as Elsewhere does.
	Disconnect(context.Context, Whom) (reached, missing int)
}

// Options of a Handler. Secret is required; zero values mean the defaults.
type Options struct {
	Secret         []byte
	Window         time.Duration // how far a signature's time may be from the clock
	IdempotencyFor time.Duration // how long an idempotency key is remembered; at most 100,000 are
	MaxBody        int64         // bytes
	MaxBatch       int           // events in one request
	Now            func() time.Time
	// Bodies bounds what is read of requests that are signed, all together. Nil means a budget of
	// this handler's own.
	Bodies *body.Budget
}

// DefaultBodies is the budget, in bytes, where Options name none. A larger MaxBody makes it larger.
const DefaultBodies = 16 << 20

// Handler answers requests. It is safe for concurrent use.
type Handler struct {
	opts   Options
	sender Sender

	mu    sync.Mutex // guards known, and that of two requests with one key the second waits
	known *lru.Cache[string, *answered]
}

// answered is a request and, once ready is closed, how it ended.
type answered struct {
	at     time.Time
	ready  chan struct{}
	answer Answer
	err    error
}

// Answer is what a publisher gets. Reached counts the sockets that the event was sent to; of
// several events in Results, and their sum in Reached. Of MissingNodes it is not known how many
// they reached: they did not answer in time.
type Answer struct {
	Reached      int   `json:"reached"`
	Results      []int `json:"results,omitempty"`
	Duplicate    bool  `json:"duplicate,omitempty"`
	MissingNodes int   `json:"missing_nodes,omitempty"`
}

// New makes a handler.
func New(opts Options, sender Sender) *Handler {
	if opts.Window == 0 {
		opts.Window = DefaultWindow
	}
	if opts.IdempotencyFor == 0 {
		opts.IdempotencyFor = DefaultIdempotencyFor
	}
	if opts.MaxBody == 0 {
		opts.MaxBody = DefaultMaxBody
	}
	if opts.MaxBatch == 0 {
		opts.MaxBatch = DefaultMaxBatch
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Bodies == nil {
		opts.Bodies = body.NewBudget(max(DefaultBodies, 4*opts.MaxBody), nil)
	}
	known, err := lru.New[string, *answered](maxKeys)
	if err != nil {
		panic("publish: " + err.Error()) // the size is positive
	}
	return &Handler{opts: opts, sender: sender, known: known}
}

// Publish answers 202 with an Answer; 400 for what can't be sent, and then sends nothing of it; 401
// without the secret; 413 for too much.
func (h *Handler) Publish(w http.ResponseWriter, r *http.Request) {
	content, ok := h.admit(w, r)
	if !ok {
		return
	}
	events, batch, key, err := Parse(content, h.opts.MaxBatch)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if given := r.Header.Get("Idempotency-Key"); given != "" {
		key = given
	}
	if len(key) > maxName {
		refuse(w, http.StatusBadRequest, "the idempotency key is too long")
		return
	}
	answer, err := h.once(key, func() (Answer, error) { return h.send(r.Context(), events, batch) })
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	reply(w, http.StatusAccepted, answer)
}

// once carries out what was not carried out before under this key.
func (h *Handler) once(key string, send func() (Answer, error)) (Answer, error) {
	if key == "" {
		return send()
	}
	now := h.opts.Now()
	h.mu.Lock()
	before, ok := h.known.Get(key)
	if ok && now.Sub(before.at) < h.opts.IdempotencyFor {
		h.mu.Unlock()
		<-before.ready // it waits for other nodes, a second at most
		answer := before.answer
		answer.Duplicate = true
		return answer, before.err
	}
	this := &answered{at: now, ready: make(chan struct{})}
	h.known.Add(key, this)
	h.mu.Unlock()
	defer close(this.ready)
	this.answer, this.err = send()
	if this.err != nil {
		h.mu.Lock()
		if at, ok := h.known.Peek(key); ok && at == this {
			h.known.Remove(key)
		}
		h.mu.Unlock()
	}
	return this.answer, this.err
}

func (h *Handler) send(ctx context.Context, events []Event, batch bool) (Answer, error) {
	reached := make([]int, len(events))
	for i, e := range events {
		var err error
		if reached[i], err = h.sender.Send(e); err != nil {
			return Answer{}, err
		}
	}
	elsewhere, missing := h.sender.Elsewhere(ctx, events)
	answer := Answer{MissingNodes: missing}
	for i := range reached {
		if i < len(elsewhere) {
			reached[i] += elsewhere[i]
		}
		answer.Reached += reached[i]
	}
	if batch {
		answer.Results = reached
	}
	return answer, nil
}

// Disconnect answers 200 with an Answer.
func (h *Handler) Disconnect(w http.ResponseWriter, r *http.Request) {
	content, ok := h.admit(w, r)
	if !ok {
		return
	}
	var whom Whom
	if err := json.Unmarshal(content, &whom); err != nil {
		refuse(w, http.StatusBadRequest, "the body is no JSON object with user, tenant or socket")
		return
	}
	named := 0
	for _, name := range []string{whom.User, whom.Tenant, whom.Socket} {
		if name != "" {
			named++
		}
	}
	if named != 1 {
		refuse(w, http.StatusBadRequest, "name one of user, tenant and socket")
		return
	}
	var answer Answer
	answer.Reached, answer.MissingNodes = h.sender.Disconnect(r.Context(), whom)
	reply(w, http.StatusOK, answer)
}

// admit checks whose a request is, as far as its header tells, then reads its body and checks the
// rest.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	now := h.opts.Now()
	if err := Precheck(r.Header, h.opts.Secret, h.opts.Window, now); err != nil {
		refuse(w, http.StatusUnauthorized, err.Error())
		return nil, false
	}
	content, done, err := h.opts.Bodies.Read(w, r, h.opts.MaxBody)
	defer done()
	switch {
	case errors.Is(err, body.ErrBudget):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return nil, false
	case errors.Is(err, body.ErrTooLong):
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", h.opts.MaxBody))
		return nil, false
	case err != nil:
		refuse(w, http.StatusBadRequest, "the body broke off")
		return nil, false
	}
	if err := Authenticate(r.Header, content, h.opts.Secret, h.opts.Window, now); err != nil {
		refuse(w, http.StatusUnauthorized, err.Error())
		return nil, false
	}
	return content, true
}

func refuse(w http.ResponseWriter, code int, reason string) {
	reply(w, code, map[string]string{"error": reason})
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client is gone where this fails
}

// names is one text or a list of them.
type names []string

func (n *names) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '[' {
		return json.Unmarshal(raw, (*[]string)(n))
	}
	var one string
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	if one != "" {
		*n = names{one}
	}
	return nil
}

// reserved are the names of Socket.IO's own events.
var reserved = map[string]bool{
	"connect":        true,
	"connect_error":  true,
	"disconnect":     true,
	"disconnecting":  true,
	"newListener":    true,
	"removeListener": true,
}

// request is an event in either dialect: {name, channel|channels, data, socket_id} or {event,
// room|rooms, user|users, except, data}.
type request struct {
	Name     string          `json:"name"`
	Event    string          `json:"event"`
	Channel  names           `json:"channel"`
	Channels names           `json:"channels"`
	Room     names           `json:"room"`
	Rooms    names           `json:"rooms"`
	User     names           `json:"user"`
	Users    names           `json:"users"`
	SocketID string          `json:"socket_id"`
	Except   names           `json:"except"`
	Data     json.RawMessage `json:"data"`
	Key      string          `json:"idempotency_key"`
	Batch    []request       `json:"batch"`
}

// Parse reads a body: one event, a list of them, or {batch: [...]}; batch tells whether it may be
// several. At most most events.
func Parse(body []byte, most int) (events []Event, batch bool, key string, err error) {
	var requests []request
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		if err := json.Unmarshal(body, &requests); err != nil {
			return nil, false, "", errors.New("the body is no list of events")
		}
		batch = true
	} else {
		var one request
		if err := json.Unmarshal(body, &one); err != nil {
			return nil, false, "", errors.New("the body is no JSON object of an event")
		}
		requests, key, batch = []request{one}, one.Key, one.Batch != nil
		if batch {
			requests = one.Batch
		}
	}
	if len(requests) == 0 || len(requests) > most {
		return nil, batch, "", fmt.Errorf("expected 1 to %d events, found %d", most, len(requests))
	}
	for i, r := range requests {
		e, err := r.event()
		if err != nil {
			if batch {
				err = fmt.Errorf("event %d: %w", i, err)
			}
			return nil, batch, "", err
		}
		events = append(events, e)
	}
	return events, batch, key, nil
}

func (r request) event() (Event, error) {
	e := Event{Name: r.Event, Data: r.Data, Except: r.Except}
	if e.Name == "" {
		e.Name = r.Name
	}
	if r.SocketID != "" {
		e.Except = append(e.Except, r.SocketID)
	}
	for _, list := range []names{r.Room, r.Rooms, r.Channel, r.Channels} {
		e.Rooms = append(e.Rooms, list...)
	}
	e.Users = append(append(e.Users, r.User...), r.Users...)
	if e.Data == nil {
		e.Data = json.RawMessage("null")
	}
	switch {
	case e.Name == "" || len(e.Name) > maxName:
		return e, fmt.Errorf("expected an event's name of 1 to %d bytes", maxName)
	case reserved[e.Name]:
		return e, fmt.Errorf("%s is an event of Socket.IO's own", e.Name)
	case len(e.Rooms)+len(e.Users) == 0:
		return e, errors.New("expected a room, a channel or a user")
	case len(e.Rooms)+len(e.Users) > maxRooms || len(e.Except) > maxRooms:
		return e, fmt.Errorf("expected at most %d rooms", maxRooms)
	}
	for _, room := range append(e.Rooms, e.Users...) {
		if room == "" || strings.HasPrefix(room, "\x00") {
			return e, errors.New("expected rooms with names")
		}
	}
	return e, nil
}
