package socketio

import (
	"net/http"
	"time"

	"github.com/supabridge/supabridge/socketio/engineio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// Transport is how a connection's messages travel.
type Transport = engineio.Transport

// The transports a server can offer.
const (
	Polling   = engineio.Polling
	WebSocket = engineio.WebSocket
)

// CORS says which pages of other origins may connect; see [engineio.CORS].
type CORS = engineio.CORS

// Defaults of [Options] that are not engineio's.
const (
	DefaultPath           = "/socket.io"
	DefaultConnectTimeout = 45 * time.Second

	DefaultMaxPayloadBeforeConnect = 64 << 10 // bytes
)

// Options configure a [Server]. The zero value of a field means its default.
type Options struct {
	// Paths are the mount points, each served with and without a trailing slash. Default: /socket.io.
	Paths []string
	// Transports that are offered. Default: both.
	Transports []Transport
	// DisableUpgrades keeps connections that begin with long-polling there.
	DisableUpgrades bool

	// AllowEIO3 admits clients of Socket.IO 2 too. They know no auth object and no recovery; with
	// Recovery enabled they see the offset as an additional last argument of events.
	AllowEIO3 bool

	// PingInterval is the time between a client's answer to a ping and the next ping. Default: 25 s.
	PingInterval time.Duration
	// PingTimeout is how long a client may take to answer a ping. Default: 20 s.
	PingTimeout time.Duration
	// UpgradeTimeout bounds the upgrade from long-polling to websocket. Default: 10 s.
	UpgradeTimeout time.Duration
	// ConnectTimeout is how long a connection may stay without entering a namespace. Default: 45 s.
	ConnectTimeout time.Duration

	// MaxPayload bounds what a client sends in one websocket message or one request body, in bytes.
	// Default: 1,000,000.
	MaxPayload int
	// MaxPayloadBeforeConnect bounds the same, and all that waits for a handler, until the client
	// has entered a namespace; it also bounds the auth object with which it enters one. It must
	// hold the tokens or cookies that clients send there. A client that sends bytes before it has
	// asked for a namespace is closed. Default: 64 KiB, and MaxPayload at most.
	MaxPayloadBeforeConnect int
	// MaxPartial bounds what all connections together hold of messages that are not complete, in
	// bytes: halves of frames and of request bodies, and packets whose attachments have not all
	// come. See [engineio.Options]. Default: 32 MiB.
	MaxPartial int
	// MaxAttachments bounds the number of binary attachments of a packet from a client; together
	// they may have MaxPayload bytes. Default: 10.
	MaxAttachments int
	// MaxQueueBytes and MaxQueuePackets bound what waits for one client. Defaults: 1 MiB and 16,384. A
	// single message larger than the bound is let through an empty queue.
	MaxQueueBytes   int
	MaxQueuePackets int
	// MaxQueuesBytes bounds what waits for all clients together; what was sent to several counts
	// once. Default: 128 MiB.
	MaxQueuesBytes int
	// MaxRate bounds the packets a client sends in a second, over time; see [engineio.Options].
	// Default: no bound.
	MaxRate int
	// MaxBacklog bounds the packets of one connection that wait for a handler; beyond it the server
	// stops reading from that client until the handler has caught up. It does so too where they have
	// more than MaxPayload bytes together. Default: 256.
	MaxBacklog int
	// DisableCompression turns off gzip for polling responses above 1 KiB.
	DisableCompression bool

	// CORS says which pages of other origins may connect. Default: none.
	CORS CORS
	// Cookie, if set, is sent with the response that opens a connection, with the connection's id as
	// its value: for balancers that keep a client on a node by cookie.
	Cookie *http.Cookie
	// Allow, if set, is asked before a connection is opened; an error refuses with status 403 and is
	// sent to the client.
	Allow func(*http.Request) error
	// InitialHeaders, if set, may add headers to the response that opens a connection.
	InitialHeaders func(http.Header, *http.Request)
	// Headers, if set, may add headers to every response.
	Headers func(http.Header, *http.Request)

	// Recovery restores the sockets of clients that lost their connection for a moment.
	Recovery Recovery

	// ClientBundle serves the client library (socket.io.js, socket.io.min.js, socket.io.esm.min.js and
	// so on) below each mount point. It is the directory with these files, such as
	// node_modules/socket.io-client/dist, or a URL of it. Default: not served.
	ClientBundle string
	// Parser gives packets another form on the wire, which the clients must have too: [parser.MsgPack]
	// for socket.io-msgpack-parser. Default: the protocol's own text form.
	Parser Parser
	// Adapter joins this server with those of other processes. Default: none.
	Adapter Adapter
	// Kin is a name for this server and the others that tell their sockets the same things by
	// themselves, as if each of their sockets were in a room of that name: what [Target.Except] takes
	// it out of goes to the sockets of other servers only. Default: none.
	Kin string

	// Hooks tell logs and metrics what happens.
	Hooks Hooks
}

// Parser is a form in which packets travel, each as one binary message. It is used by many
// goroutines at once.
type Parser interface {
	Encode(*parser.Packet) ([]byte, error)
	// Decode may keep the message. An error ends the connection.
	Decode([]byte) (*parser.Packet, error)
}

// Recovery configures connection state recovery: a client that comes back soon after its connection
// broke gets its socket back, with its id, rooms and data, and the events it has missed, in order.
// The defaults of its fields hold once Enabled is set.
//
// Events carry an offset then, a string, as a last argument; the npm client remembers it and hands
// it to handlers all the same. Events that ask for an acknowledgement and volatile ones are not
// recovered.
type Recovery struct {
	Enabled bool
	// MaxDisconnection is how long a client may be away. Default: 2 minutes.
	MaxDisconnection time.Duration
	// SkipMiddleware admits a recovered client without asking the middleware again.
	SkipMiddleware bool
	// MaxBytes and MaxPackets bound the events kept in each namespace. A client that would miss one of
	// those that had to go is not recovered. Defaults: 32 MiB and 65,536.
	MaxBytes   int
	MaxPackets int
	// MaxSessions bounds the clients of a namespace, connected and away, above which one that loses
	// its connection is not kept. Default: 100,000.
	MaxSessions int
	// Export, if set, lets clients be recovered at other nodes than the one they left, where the
	// adapter is a [Keeper]. It is asked when a socket has lost its connection, and returns what other
	// nodes are to have as the socket's data, where [Socket.Data] then is a [json.RawMessage]:
	// something of which encoding/json makes an object, or nil. With false the socket is recovered at
	// this node only. It is called by many goroutines at once, also the adapter's, and must not block.
	Export func(*Socket) (data any, ok bool)
}

// Hooks are functions that learn what happens; each may be nil. They are called by the server's
// workers or by the goroutine of the request, may be called at the same time, and should not take
// long.
type Hooks struct {
	// Opened: a client opened a connection.
	Opened func(ConnectionInfo)
	// Upgraded: a connection moved from long-polling to websocket.
	Upgraded func(ConnectionInfo)
	// Closed: a connection ended. err says more than the reason, or is nil.
	Closed func(c ConnectionInfo, reason string, err error)
	// QueueFull: a connection was closed because its client did not take what it was sent. Closed
	// follows.
	QueueFull func(ConnectionInfo)
	// Refused: a request was refused before it became a connection.
	Refused func(r *http.Request, err *engineio.Error)
}

// ConnectionInfo says which connection a hook speaks of. It holds no secret: an id in it is a
// log's, not a client's.
type ConnectionInfo struct {
	Transport  Transport
	RemoteAddr string
	// Open is how long the connection has been open.
	Open time.Duration
}

func (o Options) withDefaults() Options {
	if len(o.Paths) == 0 {
		o.Paths = []string{DefaultPath}
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	if o.MaxPayload <= 0 {
		o.MaxPayload = engineio.DefaultMaxPayload
	}
	if o.MaxPayloadBeforeConnect <= 0 {
		o.MaxPayloadBeforeConnect = DefaultMaxPayloadBeforeConnect
	}
	o.MaxPayloadBeforeConnect = min(o.MaxPayloadBeforeConnect, o.MaxPayload)
	if o.MaxAttachments <= 0 {
		o.MaxAttachments = parser.DefaultMaxAttachments
	}
	if o.MaxBacklog <= 0 {
		o.MaxBacklog = 256
	}
	r := &o.Recovery
	if r.MaxDisconnection <= 0 {
		r.MaxDisconnection = 2 * time.Minute
	}
	if r.MaxBytes <= 0 {
		r.MaxBytes = 32 << 20
	}
	if r.MaxPackets <= 0 {
		r.MaxPackets = 1 << 16
	}
	if r.MaxSessions <= 0 {
		r.MaxSessions = 100_000
	}
	if o.PingInterval <= 0 {
		o.PingInterval = engineio.DefaultPingInterval
	}
	if o.PingTimeout <= 0 {
		o.PingTimeout = engineio.DefaultPingTimeout
	}
	if o.MaxQueueBytes <= 0 {
		o.MaxQueueBytes = engineio.DefaultMaxQueueBytes
	}
	if o.MaxQueuePackets <= 0 {
		o.MaxQueuePackets = engineio.DefaultMaxQueuePackets
	}
	return o
}

// engine returns the options of the transport layer.
func (o Options) engine() engineio.Options {
	return engineio.Options{
		Paths: o.Paths, Transports: o.Transports, DisableUpgrades: o.DisableUpgrades, AllowEIO3: o.AllowEIO3,
		PingInterval: o.PingInterval, PingTimeout: o.PingTimeout, UpgradeTimeout: o.UpgradeTimeout,
		MaxPayload: o.MaxPayload, MaxUntrustedPayload: o.MaxPayloadBeforeConnect, MaxPartial: o.MaxPartial,
		MaxRate: o.MaxRate, MaxQueueBytes: o.MaxQueueBytes, MaxQueuePackets: o.MaxQueuePackets,
		MaxQueuesBytes:     o.MaxQueuesBytes,
		DisableCompression: o.DisableCompression, CORS: o.CORS, Cookie: o.Cookie,
		Allow: o.Allow, InitialHeaders: o.InitialHeaders, Headers: o.Headers, Refused: o.Hooks.Refused,
	}
}
