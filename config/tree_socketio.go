package config

import "time"

// SocketIO sets up the endpoint browsers connect to.
type SocketIO struct {
	// Paths the endpoint answers at, each with and without a trailing slash.
	Paths []string `key:"paths"`
	// Namespaces a client may connect to. All have the same rooms and events.
	Namespaces []string `key:"namespaces"`
	// Transports offered. Without polling, clients with default options can't connect; without
	// websocket every client polls.
	Transports []string `key:"transports" enum:"polling|websocket"`
	// How often the server pings a client. Shorter finds a dead client sooner and costs a packet for
	// each client and ping; a proxy that closes idle connections needs less than its own limit.
	PingInterval time.Duration `key:"ping_interval" min:"1s" max:"10m"`
	// How long a client may take to answer a ping before it counts as gone. Phones in the background
	// need the 20s.
	PingTimeout time.Duration `key:"ping_timeout" min:"1s" max:"10m"`
	// How long a connection may stay without joining a namespace before it is closed.
	ConnectTimeout time.Duration `key:"connect_timeout" min:"1s" max:"10m"`
	// How long the change from polling to websocket may take before it is given up and polling goes
	// on.
	UpgradeTimeout time.Duration `key:"upgrade_timeout" min:"1s" max:"10m"`
	// Largest message accepted from a client; a larger one closes the connection. It bounds the memory
	// a client can make the server hold.
	MaxPayload Size `key:"max_payload" min:"1KiB" max:"1GiB"`
	// Largest message accepted from a client that has entered no namespace yet, or has yet to send its
	// token (auth.credentials with event). It must hold the connect packet, with the token or the
	// cookies that a frontend sends there. A larger one closes the connection. Bytes are not taken
	// before the connect packet at all.
	MaxPayloadBeforeConnect Size `key:"max_payload_before_connect" min:"1KiB" max:"64MiB"`
	// Most memory for messages that are not complete, of all clients together: halves of frames and of
	// request bodies, and events whose attachments are still to come. Clients that have entered no
	// namespace share a quarter of it. Beyond it connections are closed ("incomplete message"), first
	// those from the address that sent most, and of these the one whose message is oldest. A message
	// that is not complete after ping_interval and ping_timeout closes its connection too.
	MaxPartial Size `key:"max_partial" min:"4MiB" max:"64GiB"`
	// Most packets a client may send in a second, over time; one that was silent may send those of ten
	// seconds at once. Every packet counts, pings of websockets and what limits.socket.events refuses
	// included: one that goes on beyond that is closed, since reading and refusing costs too. So keep
	// it well above that. 0 is no bound.
	MaxRate int `key:"max_rate" min:"0" max:"1000000"`
	// Most bytes waiting to be sent to one client. One that falls further behind is closed ("queue
	// full"), and may come back. It must hold a burst: a transaction of 5,000 rows takes some 15 MiB.
	// A client that does not read at all is closed after ping_interval and ping_timeout in any case.
	MaxQueue Size `key:"max_queue" min:"16KiB" max:"1GiB"`
	// Most bytes waiting to be sent to all clients together. What was sent to several is held once,
	// and counts once. Beyond it those for whom most is waiting are closed, until it is less again. It
	// is the most memory that slow clients can take.
	MaxQueues Size `key:"max_queues" min:"1MiB" max:"64GiB"`
	// Browsers that lost their connection for a moment get the events they missed.
	Recovery Recovery `key:"recovery"`
	// Pages of other origins that may connect.
	CORS CORS `key:"cors"`
	// Socket.IO's own Admin UI.
	Admin Admin `key:"admin"`
}

// Admin lets the Admin UI of Socket.IO connect: npm @socket.io/admin-ui, or
// https://admin.socket.io.
type Admin struct {
	// Name that those who look have to give. The UI connects to this server's address, namespace
	// /admin; its page's origin must be in socketio.cors.origins. Use it over TLS only. Empty turns it
	// off, and the namespace does not exist.
	Username string `key:"username"`
	// bcrypt hash of their password, as printed by: htpasswd -nbBC 10 "" PASSWORD | tr -d ':'. In a
	// .env file it stands in single quotes, since it holds dollar signs. Required with username.
	PasswordHash Secret `key:"password_hash"`
	// development shows servers, sockets, rooms and events as they happen, up to 200 events a second;
	// production shows counts only, and names no user.
	Mode string `key:"mode" enum:"development|production"`
	// Show the contents of events, which are the users' messages. Otherwise their names and sizes are
	// shown.
	Bodies bool `key:"bodies"`
	// What an admin may do to sockets. join and emit get around what decides who may read a room: a
	// socket that is made to join one hears all of it.
	Allow []string `key:"allow" enum:"emit|join|leave|disconnect"`
}

// Recovery bounds what is kept for browsers that come back.
type Recovery struct {
	// How long a browser may be away and still get back its rooms and every event it missed, in order.
	// One that was away for longer reads what it missed by joining with since. 0s turns recovery off.
	Window time.Duration `key:"window" min:"0s" max:"1h"`
	// Most memory taken by events kept for that, in each namespace. A browser that missed one which
	// had to go is not recovered.
	Memory Size `key:"memory" min:"64KiB" max:"64GiB"`
}

// CORS names the web origins allowed besides the server's own.
type CORS struct {
	// Origins such as https://app.example.com, or "*" for any. Named origins are the only others whose
	// pages may connect. Empty lets only pages of the server's own origin connect (behind a proxy that
	// of its Host header, or of X-Forwarded-Host where limits.trusted_proxies names the proxy), and on
	// a developer's machine those of localhost. With auth.insecure_dev it is always as if it were
	// empty. Where tokens come from cookies origins must be named.
	Origins []string `key:"origins"`
}
