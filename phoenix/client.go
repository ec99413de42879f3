package phoenix

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// Version is the serializer version spoken on the wire.
type Version = wire.Version

const (
	// V1 is vsn 1.0.0: JSON objects, no binary broadcasts.
	V1 = wire.V1
	// V2 is vsn 2.0.0: JSON arrays and binary broadcasts. Default.
	V2 = wire.V2
)

// Defaults of Options.
const (
	defaultHeartbeatInterval = 25 * time.Second // the server closes after 60 s without a word
	defaultHeartbeatTimeout  = 10 * time.Second
	defaultHandshakeTimeout  = 20 * time.Second // the server answers errors only after 2 s
	defaultJoinTimeout       = 15 * time.Second // the server answers errors only after 5 s
	defaultLiveTimeout       = 30 * time.Second
	defaultWriteTimeout      = 10 * time.Second
	defaultIdleDisconnect    = 50 * time.Second
	defaultJoinInterval      = 50 * time.Millisecond
	defaultJoinsInFlight     = 2
	defaultMaxChannels       = 100
	defaultReadLimit         = 8 << 20
	defaultSendQueue         = 256
	closeTimeout             = time.Second // for the server's half of the closing handshake
)

// Options configures a Client. Zero fields take the stated defaults.
type Options struct {
	// APIKey is the project's anon, publishable, service_role or secret key. Required.
	// It travels in the URL of the handshake, as the server wants it, and is never
	// logged nor part of an error. Don't use a user's token: it would end the whole
	// connection's standing when it expires; that is what ChannelOptions.Token is for.
	APIKey string
	// Endpoint overrides the WebSocket URL derived from the project URL, such as
	// ws://tenant.localhost:4000/socket/websocket for a server without gateway.
	Endpoint string
	// Version is V1 or V2; default V2.
	Version Version
	// Header is sent with the handshake and REST calls. Headers named X-… can be
	// read by row-level policies.
	Header http.Header

	// HeartbeatInterval is how often the client speaks to keep the connection.
	// Default 25 s; the server's patience is 60 s.
	HeartbeatInterval time.Duration
	// HeartbeatTimeout is how long an answer may take before the connection counts
	// as dead. A join in flight stops this clock, since the server answers nothing
	// else meanwhile. Default 10 s.
	HeartbeatTimeout time.Duration
	// HandshakeTimeout bounds one attempt to connect. Default 20 s.
	HandshakeTimeout time.Duration
	// JoinTimeout bounds the token source and, separately, the answer to a join.
	// Default 15 s; below 8 s every refused join becomes a timeout.
	JoinTimeout time.Duration
	// LiveTimeout bounds the wait from joined to live; after it the channel rejoins.
	// Default 30 s.
	LiveTimeout time.Duration
	// WriteTimeout bounds one write to the socket. Default 10 s.
	WriteTimeout time.Duration
	// IdleDisconnect closes the connection when no channel has wanted it for so long.
	// Default 50 s; negative: never.
	IdleDisconnect time.Duration
	// Backoff bounds the waits between attempts.
	Backoff Backoff

	// JoinInterval is the least time between two joins, so that a reconnect doesn't
	// spend the project's joins per second at once. Default 50 ms; negative: none.
	JoinInterval time.Duration
	// JoinsInFlight is how many joins may be unanswered at a time. The server
	// handles one after the other, and a refused one blocks it for 5 s. Default 2.
	JoinsInFlight int
	// MaxChannels bounds the channels of this client. Default 100, the server's own limit.
	MaxChannels int
	// ReadLimit bounds an incoming frame in bytes; a larger one ends the connection.
	// Default 8 MiB, above what the server sends.
	ReadLimit int64
	// SendQueue bounds the frames waiting for the socket. Default 256.
	SendQueue int

	// Dialer opens the WebSocket. Default: gorilla's with the environment's proxy. One
	// of the caller's own should return soon after its context ends; a *websocket.Dialer
	// is copied and made to.
	Dialer Dialer
	// HTTPClient makes REST calls. Default http.DefaultClient.
	HTTPClient *http.Client
	// Clock is where time comes from. Default: the system's.
	Clock Clock
	// Jitter returns numbers in [0, 1) for the back-off. Default math/rand/v2.
	Jitter func() float64
	// Hooks observe the client.
	Hooks Hooks
	// Logger gets one line for each connect, loss and change of stage; nil logs
	// nothing. Neither tokens nor payloads are logged.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.APIKey == "" {
		return o, errors.New("realtime: Options.APIKey is empty")
	}
	if o.Version == 0 {
		o.Version = V2
	}
	if o.Version != V1 && o.Version != V2 {
		return o, fmt.Errorf("realtime: unknown version %s", o.Version)
	}
	duration := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	duration(&o.HeartbeatInterval, defaultHeartbeatInterval)
	duration(&o.HeartbeatTimeout, defaultHeartbeatTimeout)
	duration(&o.HandshakeTimeout, defaultHandshakeTimeout)
	duration(&o.JoinTimeout, defaultJoinTimeout)
	duration(&o.LiveTimeout, defaultLiveTimeout)
	duration(&o.WriteTimeout, defaultWriteTimeout)
	duration(&o.IdleDisconnect, defaultIdleDisconnect)
	duration(&o.JoinInterval, defaultJoinInterval)
	for _, d := range []time.Duration{o.HeartbeatInterval, o.HeartbeatTimeout, o.HandshakeTimeout, o.JoinTimeout,
		o.LiveTimeout, o.WriteTimeout} {
		if d < 0 {
			return o, errors.New("realtime: negative duration in Options")
		}
	}
	number := func(n *int, to int) {
		if *n <= 0 {
			*n = to
		}
	}
	number(&o.JoinsInFlight, defaultJoinsInFlight)
	number(&o.MaxChannels, defaultMaxChannels)
	number(&o.SendQueue, defaultSendQueue)
	if o.ReadLimit <= 0 {
		o.ReadLimit = defaultReadLimit
	}
	o.Backoff = o.Backoff.withDefaults()
	switch d := o.Dialer.(type) {
	case nil:
		o.Dialer = defaultDialer()
	case *websocket.Dialer:
		o.Dialer = gorillaDialer{*d}
	}
	if o.HTTPClient == nil {
		o.HTTPClient = http.DefaultClient
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	return o, nil
}

// Client is one connection to Realtime and the channels on it. Its methods are safe
// for concurrent use.
type Client struct {
	opts     Options // read-only
	endpoint string  // WebSocket URL with key and version; a secret; read-only
	rest     string  // base of the REST API, without a trailing slash; read-only

	ctx    context.Context // ends with the client; parent of dials and token calls
	cancel context.CancelFunc
	posts  chan func()   // work for the loop
	frames chan inbound  // from the connection's reader
	done   chan struct{} // closed when the loop has ended
	wg     sync.WaitGroup

	// What follows is owned by the loop.
	agenda   *agenda
	channels map[string]*channel // by wire topic
	link     link
	joinLine []*channel // waiting for their turn to join, in order
	lastJoin time.Time
	joinTurn *alarm
	lastRef  uint64
	names    map[string]string // interned schema and table names, bounded
	closing  bool
	ended    bool
	onEmpty  []chan struct{} // closed when the last channel is gone, during Close
}

// NewClient makes a client for the project at baseURL, such as
// https://ref.supabase.co or http://127.0.0.1:54321. It starts one goroutine,
// which Close ends, and connects when the first channel subscribes.
func NewClient(baseURL string, options Options) (*Client, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts:     o,
		posts:    make(chan func()),
		frames:   make(chan inbound, 64),
		done:     make(chan struct{}),
		channels: make(map[string]*channel),
		names:    make(map[string]string),
	}
	if c.endpoint, c.rest, err = endpoints(baseURL, o); err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.agenda = newAgenda(o.Clock)
	go c.run()
	return c, nil
}

// run is the loop: it owns all state and never waits for anything but its inputs.
func (c *Client) run() {
	defer close(c.done)
	defer c.agenda.timer.Stop()
	for !c.ended {
		select {
		case fn := <-c.posts:
			fn()
		case in := <-c.frames:
			c.receive(in)
		case <-c.agenda.timer.C():
			c.agenda.fire()
		}
	}
}

// post hands fn to the loop, from another goroutine. It reports false when the
// loop has ended and fn will not run.
func (c *Client) post(fn func()) bool {
	select {
	case c.posts <- fn:
		return true
	case <-c.done:
		return false
	}
}

// call runs fn on the loop and waits for it.
func (c *Client) call(ctx context.Context, fn func()) error {
	ran := make(chan struct{})
	select {
	case c.posts <- func() { fn(); close(ran) }:
		<-ran
		return nil
	case <-c.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) now() time.Time { return c.opts.Clock.Now() }

// newRef makes a reference that is unique for the life of the client, so that
// nothing of an earlier connection or join can be taken for something current.
func (c *Client) newRef() wire.Ref {
	c.lastRef++
	return wire.StringRef(fmt.Sprint(c.lastRef))
}

// maxNames bounds the interned names.
const maxNames = 1024

// name interns a schema or table name.
func (c *Client) name(b []byte) string {
	if s, ok := c.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(c.names) < maxNames {
		c.names[s] = s
	}
	return s
}

// Close leaves all channels, closes the connection with code 1000 and waits for
// every goroutine of the client. When ctx ends first the connection is cut, and
// the context's error is returned; everything is released either way. Channels
// deliver Closed. Closing again waits for the first Close.
func (c *Client) Close(ctx context.Context) error {
	empty := make(chan struct{})
	err := c.call(ctx, func() {
		c.closing = true
		c.onEmpty = append(c.onEmpty, empty)
		for _, ch := range c.channels {
			ch.beginLeave()
		}
		c.checkEmpty()
	})
	if err == nil {
		select {
		case <-empty:
		case <-c.done:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	cut := err != nil
	c.post(func() { c.end(cut) })
	select {
	case <-c.done:
	case <-ctx.Done():
		if err == nil {
			err = ctx.Err()
		}
		c.post(func() { c.end(true) })
		<-c.done
	}
	c.cancel()
	c.wg.Wait()
	return err
}

// checkEmpty tells a Close that waits for the channels when they are gone, and
// otherwise starts the clock of an unused connection.
func (c *Client) checkEmpty() {
	if len(c.channels) == 0 {
		for _, e := range c.onEmpty {
			close(e)
		}
		c.onEmpty = nil
	}
	c.checkUnused()
}

// end ends the loop: at once when cut, else after the closing handshake.
func (c *Client) end(cut bool) {
	if c.ended {
		return
	}
	c.closing = true
	c.cancel()
	for _, ch := range c.channels {
		ch.close(nil)
	}
	if cn := c.link.conn; cn != nil && !cut {
		if !cn.closing {
			c.closeLink(cn)
		}
		return // dropLink ends the loop
	}
	if cn := c.link.conn; cn != nil {
		c.dropLink(cn, nil)
	}
	c.ended = true
}
