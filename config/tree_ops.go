package config

import "time"

// Publish lets the application's server send events to browsers.
type Publish struct {
	// Secret the server shows, as "Authorization: Bearer" or by signing with it: X-Bridge-Signature:
	// t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">. Who has it can send anything to anybody. Empty
	// turns publishing off, and the paths do not exist.
	Secret Secret `key:"secret"`
	// Path that events are posted to.
	Path string `key:"path"`
	// Path for closing the connections of a user, of a tenant, or one socket.
	DisconnectPath string `key:"disconnect_path"`
	// How far the time of a signature may be from the clock.
	Window time.Duration `key:"window" min:"1s" max:"1h"`
	// How long an idempotency key is remembered; at most 100000 are.
	IdempotencyFor time.Duration `key:"idempotency_for" min:"1m" max:"24h"`
	// Largest body taken.
	MaxBody Size `key:"max_body" min:"1KiB" max:"64MiB"`
	// Most events in one request.
	MaxBatch int `key:"max_batch" min:"1" max:"10000"`
}

// Cluster joins several nodes, and Socket.IO servers in Node beside them.
type Cluster struct {
	// Address of the Redis that all nodes share, as redis://:password@host:6379/0, rediss:// for TLS,
	// or unix:///path. Empty runs this node alone. While it is away each node goes on with its own
	// browsers. A Redis Cluster takes nodes of it,
	// redis://:password@host1:6379?addr=host2:6379&addr=host3:6379 (one that has a single address,
	// that twice), Sentinels the name they have for the Redis,
	// redis://sentinel1:26379/0?master_name=mymaster&addr=sentinel2:26379&password=secret.
	Redis Secret `key:"redis"`
	// How nodes speak through Redis. pubsub is what createAdapter of @socket.io/redis-adapter and
	// @socket.io/redis-emitter speak; sharded is what createShardedAdapter does, needs Redis 7, and
	// has each node hear only of rooms it has, but no emitter reaches it. streams is what
	// createAdapter of @socket.io/redis-streams-adapter does: what is sent to rooms stays in Redis for
	// a while, so that a node which loses Redis for a moment misses nothing, and a browser that comes
	// back to another node than it left gets what it missed; the emitter does not reach it. All nodes
	// must have the same.
	Mode string `key:"mode" enum:"pubsub|sharded|streams"`
	// How many events stay in Redis in the mode streams. It has to hold what all nodes send to rooms
	// within socketio.recovery.window, or browsers that come back to another node are not always
	// recovered there; each takes some hundred bytes more than its content.
	StreamLength int `key:"stream_length" min:"1000" max:"10000000"`
	// What the names of channels begin with: the option key of the adapter and the emitter,
	// channelPrefix of the sharded one; in the mode streams it is the options streamName and
	// channelPrefix. Projects that share a Redis need different ones.
	Prefix string `key:"prefix"`
	// Send row changes, typing and presence to the rooms of Socket.IO servers in Node too, while there
	// are any in the cluster, as the preset of vocabulary says them. false where those servers tell
	// their own clients of them.
	Relay bool `key:"relay"`
	// Which node hears Realtime and reads rows that it did not bring. each: every node does, so that a
	// Redis that is away costs nothing. leader: one does and tells the others by way of Redis, which
	// saves Supabase connections, messages and reads; another takes its place within cluster.lease and
	// a third of it, and a node that can't hear a leader hears Realtime for itself. All nodes must
	// have the same.
	Changes string `key:"changes" enum:"each|leader"`
	// How long a node may be silent before it counts as dead: its users then go offline (after
	// presence.grace), and another node takes its place if it led. Shorter notices sooner, and takes a
	// node that is short of breath for dead; each node sends three signs of life in this time.
	Lease time.Duration `key:"lease" min:"500ms" max:"5m"`
	// Most bytes that wait to be sent to the other nodes while Redis is slow or away. What finds no
	// place is lost to their browsers, and counted.
	MaxQueue Size `key:"max_queue" min:"64KiB" max:"1GiB"`
	// How long something waits for a Redis that is away before it is dropped. Longer brings old news
	// when it is back.
	MaxWait time.Duration `key:"max_wait" min:"1s" max:"10m"`
}

// Ops is for those who run the daemon.
type Ops struct {
	// Address of the port for operators, as host:port: a status page at /, /metrics for Prometheus,
	// /debug/pprof/, /healthz and /readyz. Keep it on loopback or a private network: it asks for no
	// password. Empty opens none.
	Listen string `key:"listen"`
	// Traces of messages on their way from a webhook, or from the database, to browsers.
	Traces Traces `key:"traces"`
	// Let supabridge tail --bodies show rows, which are people's messages, to whoever reaches
	// ops.listen.
	TailBodies bool `key:"tail_bodies"`
	// How long stopping may take: from the signal until what is in flight is sent and every connection
	// is closed. What is left then is cut off. The supervisor's own limit should be a few seconds
	// more.
	ShutdownTimeout time.Duration `key:"shutdown_timeout" min:"0s" max:"10m"`
}

// Traces sends spans to a collector of OpenTelemetry.
type Traces struct {
	// Address of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces.
	// Headers it wants go into OTEL_EXPORTER_OTLP_HEADERS. Spans hold ids and rooms, never contents.
	// Empty sends none.
	URL string `key:"url"`
	// Of how many messages one is traced. 1 traces each.
	OneIn int `key:"one_in" min:"1" max:"1000000"`
}

// Log says what is logged and how.
type Log struct {
	// The least severe lines written: trace, debug, info, warn or error. debug writes a line for each
	// packet.
	Level string `key:"level" enum:"trace|debug|info|warn|error"`
	// json writes a JSON object a line, pretty lines for people, auto pretty on a terminal and json
	// otherwise.
	Format string `key:"format" enum:"auto|json|pretty"`
}
