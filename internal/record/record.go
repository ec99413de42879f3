// Package record watches a frontend talk Socket.IO and writes what it saw as a profile: the
// configuration under which the bridge serves that frontend.
//
//	r, err := record.New(record.Options{Upstream: "http://localhost:4000"})
//	http.ListenAndServe(":3001", r)   // the frontend connects here, to any path and namespace, with any credentials
//	r.WriteProfile(os.Stdout)
//
// What a frontend emits it shows by itself. What it listens for shows only in what its own server
// sends it, so with Upstream everything is passed on to that server and back, and both directions
// are watched; without, a server that takes everything answers.
//
// The recorder keeps samples of what is sent in memory, within the bounds below. The profile has
// names, places and the form of values, never a value. A Recorder starts the goroutines of the
// connections it passes on; Close ends them.
package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/socketio/parser"
)

// Bounds of what is kept.
const (
	maxEvents   = 500      // names, in each direction
	maxSamples  = 16       // of arguments, of different form, for each name
	maxSample   = 64 << 10 // bytes of one sample
	maxSessions = 10_000   // connections followed at once; the one unused for longest is forgotten
	maxKnown    = 10_000   // ids of conversations and users
	maxPlaces   = 100      // paths, namespaces and places of credentials
	maxBody     = 16 << 20 // bytes of one message or long poll
	maxWaiting  = 1000     // acks of one connection that are still to come
)

// Options of a Recorder.
type Options struct {
	// Upstream is the address of the frontend's own server, such as http://localhost:4000. Empty:
	// everything is answered here.
	Upstream string
	// Log gets a line for each name that is new.
	Log zerolog.Logger
}

// Recorder is an http.Handler that watches.
type Recorder struct {
	log      zerolog.Logger
	upstream *url.URL
	proxy    *httputil.ReverseProxy
	answers  *answers // nil with an upstream of the frontend's own
	ctx      context.Context
	stop     context.CancelFunc
	pumps    sync.WaitGroup

	sessions *lru.Cache[string, *session]

	mu         sync.Mutex // guards what follows
	paths      []string
	namespaces []string
	tokens     []string // places of credentials, as auth.credentials has them
	origins    []string // pages that connect, where their credentials are cookies
	emitted    catalog
	acked      catalog // the answers, by the event they answer
	heard      catalog
	users      map[string]string // names by id
	tenants    map[string]bool
}

// New makes a recorder. It fails for an upstream that is no http address.
func New(opts Options) (*Recorder, error) {
	r := &Recorder{log: opts.Log, users: make(map[string]string), tenants: make(map[string]bool)}
	var err error
	if r.sessions, err = lru.New[string, *session](maxSessions); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if opts.Upstream == "" {
		if r.answers, err = newAnswers(); err != nil {
			return nil, err
		}
		opts.Upstream = r.answers.url
	}
	if r.upstream, err = url.Parse(opts.Upstream); err != nil || r.upstream.Host == "" ||
		r.upstream.Scheme != "http" && r.upstream.Scheme != "https" {
		return nil, fmt.Errorf("record: upstream %q: want an address such as http://localhost:4000", opts.Upstream)
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.proxy = &httputil.ReverseProxy{
		Rewrite:        r.rewrite,
		ModifyResponse: r.polled,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				r.log.Warn().Err(err).Msg("the upstream server can't be reached")
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	return r, nil
}

// Close ends the connections that are passed on.
func (r *Recorder) Close() {
	r.stop()
	r.pumps.Wait()
	if r.answers != nil {
		r.answers.close()
	}
	if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// session is one connection of a frontend, over whatever transports.
type session struct {
	r  *Recorder
	v3 bool

	mu   sync.Mutex // guards what follows
	from parser.Decoder
	to   parser.Decoder
	// events whose ack is to come, by id and namespace alike: ids count up for each namespace, which mixes up a few
	waiting map[uint64]string
}

// catalog is what was seen of events, by name.
type catalog struct {
	names  []string // in the order they were first seen
	events map[string]*seen
}

// seen is what is known of one event.
type seen struct {
	count   int
	ack     bool                // an ack was asked for
	samples [][]json.RawMessage // of arguments, each of another form
	forms   []string
}

// note keeps a sample where its form is new; first tells that the name is.
func (c *catalog) note(name string, args []json.RawMessage, ack bool) (first bool) {
	if c.events == nil {
		c.events = make(map[string]*seen)
	}
	s := c.events[name]
	if s == nil {
		if len(c.names) >= maxEvents {
			return false
		}
		s = &seen{}
		c.events[name] = s
		c.names = append(c.names, name)
		first = true
	}
	s.count++
	s.ack = s.ack || ack
	size := 0
	for _, arg := range args {
		size += len(arg)
	}
	form := formOf(args)
	if size > maxSample || len(s.samples) >= maxSamples || slices.Contains(s.forms, form) {
		return first
	}
	kept := make([]json.RawMessage, len(args))
	for i, arg := range args {
		kept[i] = slices.Clone(arg)
	}
	s.samples, s.forms = append(s.samples, kept), append(s.forms, form)
	return first
}

// handshake notes how a frontend connects.
func (r *Recorder) handshake(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.paths, strings.TrimRight(req.URL.Path, "/"))
	for name, values := range req.URL.Query() {
		r.credential("query."+name, values[0])
	}
	r.credential("header.authorization", strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))
	before := len(r.tokens)
	for _, cookie := range req.Cookies() {
		r.credential("cookie."+cookie.Name, cookie.Value)
	}
	if origin := req.Header.Get("Origin"); origin != "" && (len(r.tokens) > before || len(r.origins) > 0) {
		add(&r.origins, origin)
	}
}

// packet notes one Socket.IO packet; out tells that the server sent it.
func (r *Recorder) packet(s *session, p *parser.Packet, out bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case p.Type == parser.Connect && !out:
		name, _, _ := strings.Cut(p.Namespace, "?")
		add(&r.namespaces, name)
		r.auth(p.Payload)
	case p.Type == parser.Event || p.Type == parser.BinaryEvent:
		r.event(s, p, out)
	case (p.Type == parser.Ack || p.Type == parser.BinaryAck) && out:
		if name := s.waiting[p.ID]; name != "" {
			r.acked.note(name, p.Args, false)
			delete(s.waiting, p.ID)
		}
	}
}

func (r *Recorder) event(s *session, p *parser.Packet, out bool) {
	name, err := p.Name()
	if err != nil {
		return
	}
	args := p.Args[1:]
	if out {
		if r.heard.note(name, args, p.HasID) {
			r.log.Info().Str("event", name).Str("arguments", formOf(args)).Msg("the server sends")
		}
		return
	}
	for _, arg := range args {
		r.learnUsers(arg)
	}
	if p.HasID && len(s.waiting) < maxWaiting {
		s.waiting[p.ID] = name
	}
	if r.emitted.note(name, args, p.HasID) {
		r.log.Info().Str("event", name).Str("arguments", formOf(args)).Bool("ack", p.HasID).Msg("the frontend emits")
	}
}

// add adds a text that is not there yet, within bounds.
func add(list *[]string, text string) {
	if !slices.Contains(*list, text) && len(*list) < maxPlaces {
		*list = append(*list, text)
	}
}

// localListener opens a port that only this machine reaches.
func localListener() (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return listener, nil
}
