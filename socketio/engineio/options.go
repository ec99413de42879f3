package engineio

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// Transport is how a connection's messages travel.
type Transport string

// The transports of the protocol that this server speaks.
const (
	Polling   Transport = "polling"
	WebSocket Transport = "websocket"
)

// The defaults of [Options], which are those of the Node.js server where it has the option.
const (
	DefaultPath            = "/engine.io"
	DefaultPingInterval    = 25 * time.Second
	DefaultPingTimeout     = 20 * time.Second
	DefaultUpgradeTimeout  = 10 * time.Second
	DefaultMaxPayload      = 1_000_000 // bytes
	DefaultMaxQueueBytes   = 1 << 20   // bytes
	DefaultMaxQueuePackets = 16_384
	DefaultMaxQueuesBytes  = 128 << 20 // bytes
	DefaultMaxPartial      = 32 << 20  // bytes
)

// Times and sizes that need no knob.
const (
	lingerTime   = 2 * time.Second  // what a closed connection has for its last bytes, or its last poll
	closeTimeout = 10 * time.Second // what a closing connection has to take its pending messages
	// what is left of that for a client that does not poll, once the server shuts down
	farewellTimeout  = time.Second
	nudgeEvery       = 100 * time.Millisecond // how long a poll may last during an upgrade; the reference server's figure
	overlapGrace     = 50 * time.Millisecond  // how long a second poll waits to be found cancelled
	compressFrom     = 1024                   // bytes of a polling response from which it is compressed
	maxBatch         = 32 << 10               // bytes written in one call, if there is more than one message
	readSize         = 16 << 10               // bytes of a borrowed read buffer
	maxPollingAnswer = 512 << 10              // bytes of one polling response, if there is more than one message
)

// Options configure a [Server]. The zero value of a field means its default.
type Options struct {
	// Paths are the mount points, each served with and without a trailing slash. Default: /engine.io.
	Paths []string
	// Transports that are offered. Default: both.
	Transports []Transport
	// DisableUpgrades keeps a connection that begins with long-polling there.
	DisableUpgrades bool
	// AllowEIO3 admits clients of protocol version 3 too, those of Socket.IO 2. A request that names
	// no version counts as one.
	AllowEIO3 bool

	// PingInterval is the time between a client's answer to a ping and the next ping. Default: 25 s.
	PingInterval time.Duration
	// PingTimeout is how long a client may take to answer a ping before it counts as gone, give or
	// take a tenth. Default: 20 s.
	PingTimeout time.Duration
	// UpgradeTimeout bounds the upgrade from long-polling to websocket. Default: 10 s.
	UpgradeTimeout time.Duration
	// MaxPayload bounds what a client sends in one websocket message or one request body, in bytes. It
	// is announced to clients. Default: 1,000,000.
	MaxPayload int
	// MaxUntrustedPayload bounds the same until [Conn.Trust] is called: for a handler that has to
	// find out first who the client is. Default: MaxPayload, which is no bound of its own.
	MaxUntrustedPayload int
	// MaxPartial bounds what all connections together hold of messages that aren't complete, in
	// bytes. Those that aren't trusted have a quarter of it. Beyond it connections are closed with
	// [ReasonPartial]: first of the address that holds most, and of those the one whose message has
	// been incomplete for longest. Default: 32 MiB, and at least what four messages take.
	MaxPartial int
	// MaxQueueBytes and MaxQueuePackets bound what waits for one client. A connection that would
	// exceed them is closed with [ReasonQueueFull]; a single message larger than the bound is let
	// through an empty queue. Defaults: 1 MiB and 16,384.
	MaxQueueBytes   int
	MaxQueuePackets int
	// MaxQueuesBytes bounds what waits for all clients together; what was sent to several counts
	// once. Beyond it those for whom most is waiting are closed with [ReasonQueueFull]. Default:
	// 128 MiB, and MaxQueueBytes at least.
	MaxQueuesBytes int
	// MaxRate bounds the packets, control frames of websockets included, that a client sends in a
	// second, over time: a client that was silent may send those of ten seconds at once. One that
	// sends more is closed with [ReasonFlood]. Default: no bound.
	MaxRate int
	// DisableCompression turns off gzip for polling responses above 1 KiB.
	DisableCompression bool

	// CORS says which pages of other origins may connect.
	CORS CORS
	// Cookie, if set, is sent with the response that opens a connection, with the connection's id as
	// its value: for load balancers that keep a client on a node by cookie. Its Value is ignored.
	Cookie *http.Cookie

	// Allow, if set, is asked before a connection is opened. An error refuses with status 403, and its
	// text is sent to the client. It runs in the request's goroutine and may block; the request's
	// context ends when the client gives up.
	Allow func(*http.Request) error
	// InitialHeaders, if set, may add headers to the response that opens a connection.
	InitialHeaders func(http.Header, *http.Request)
	// Headers, if set, may add headers to every response.
	Headers func(http.Header, *http.Request)
	// Refused, if set, learns of requests that were refused and why.
	Refused func(*http.Request, *Error)

	// Settle, if set, is called by [Server.Shutdown] before each slice of connections that it closes,
	// to bring what is on its way to them. All calls together have half of the time over which the
	// slices are spread; then ctx ends, and no more is asked.
	Settle func(ctx context.Context)

	// Accept makes the handler of a new connection, whose Work is called soon after. It must be set,
	// must not block, and may not use the connection yet.
	Accept func(*Conn) Handler
}

// withDefaults returns o with every default filled in.
func (o Options) withDefaults() Options {
	o.Paths = slices.Clone(o.Paths)
	if len(o.Paths) == 0 {
		o.Paths = []string{DefaultPath}
	}
	for i, p := range o.Paths {
		o.Paths[i] = mountPath(p)
	}
	if len(o.Transports) == 0 {
		o.Transports = []Transport{Polling, WebSocket}
	}
	setDefault(&o.PingInterval, DefaultPingInterval)
	setDefault(&o.PingTimeout, DefaultPingTimeout)
	setDefault(&o.UpgradeTimeout, DefaultUpgradeTimeout)
	setDefault(&o.MaxPayload, DefaultMaxPayload)
	setDefault(&o.MaxUntrustedPayload, o.MaxPayload)
	o.MaxUntrustedPayload = min(o.MaxUntrustedPayload, o.MaxPayload)
	setDefault(&o.MaxPartial, DefaultMaxPartial)
	o.MaxPartial = max(o.MaxPartial, 4*o.MaxPayload)
	setDefault(&o.MaxQueueBytes, DefaultMaxQueueBytes)
	setDefault(&o.MaxQueuePackets, DefaultMaxQueuePackets)
	setDefault(&o.MaxQueuesBytes, DefaultMaxQueuesBytes)
	o.MaxQueuesBytes = max(o.MaxQueuesBytes, o.MaxQueueBytes)
	return o
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
