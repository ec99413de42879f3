package config

import "time"

// Supabase says where the project is and how to speak to it.
type Supabase struct {
	// Address of the project, such as https://abcdefgh.supabase.co, or http://127.0.0.1:54321
	// for a local stack. Required. Paths such as /rest/v1 are added to it.
	URL string `key:"url"`
	// The key that reads every row: the legacy service_role JWT or a newer sb_secret_… key. Required,
	// since the feed must see the rows of all tenants. Better given by the environment than in the
	// file.
	ServiceRoleKey Secret `key:"service_role_key"`
	// The public key, legacy anon JWT or sb_publishable_…, sent beside a user's own token when Row
	// Level Security is asked what that user may see. Required unless auth.insecure_dev is on.
	AnonKey Secret `key:"anon_key"`
	// Secret that signs the project's HS256 tokens. Empty for a project that has only asymmetric
	// signing keys; a project that moved to them keeps it here for as long as tokens of both kinds
	// live.
	JWTSecret Secret `key:"jwt_secret"`
	// Where the project publishes the public keys of its ES256 or RS256 tokens. Empty means
	// <url>/auth/v1/.well-known/jwks.json. Beside a jwt_secret it is asked only once a token comes
	// that is signed by such a key; from then on, every 10m, and at most every 30s for a key that is
	// not known.
	JWKSURL string `key:"jwks_url"`
	// Postgres schema of the tables. Realtime and the REST API must both expose it.
	Schema string `key:"schema"`
	// WebSocket address of Realtime. Empty means <url>/realtime/v1/websocket with ws or wss for http
	// or https. Change it only when Realtime is reached by another way than the rest.
	RealtimeURL string `key:"realtime_url"`
	// Version of the Phoenix wire format. 1.0.0 is for a self-hosted Realtime too old for 2.0.0.
	VSN string `key:"vsn" enum:"2.0.0|1.0.0"`
	// How often the connection to Realtime shows that it is alive; one whose answer is missing when
	// the next is due counts as dead. Realtime closes after 60s without one. Shorter finds a dead line
	// sooner and costs messages.
	HeartbeatInterval time.Duration `key:"heartbeat_interval" min:"1s" max:"55s"`
	// How long joining a Realtime channel may take before it is tried again. A project that was paused
	// answers slowly; below 10s a busy one may be given up while it is still answering.
	JoinTimeout time.Duration `key:"join_timeout" min:"1s" max:"5m"`
	// Waiting between attempts to reach Realtime: doubled from min to max, each wait a random part of
	// that.
	Reconnect Reconnect `key:"reconnect"`
	// Whether changes are also taken from broadcasts of the database, which come some 300ms sooner and
	// bring deletes with their whole row. They need the triggers that supabridge sql prints. auto
	// joins their channel and uses what comes; on also counts on them alone while the changes of
	// Realtime are away, which auto does only once each table has shown to broadcast; off does not
	// join it. Broadcasts are believed only while the database says that nobody else may send them.
	FastLane string `key:"fast_lane" enum:"auto|on|off"`
	// Reading rows that Realtime did not bring: after every gap, and on a timer.
	Feed Feed `key:"feed"`
	// Reading rows while Realtime can't be had.
	Polling Polling `key:"polling"`
	// How long one REST request may take in all. A join waits at most this long for the answer whether
	// it is allowed.
	RequestTimeout time.Duration `key:"request_timeout" min:"100ms" max:"5m"`
}

// Reconnect bounds the waits between attempts to reach Realtime.
type Reconnect struct {
	// Upper bound of the first wait.
	Min time.Duration `key:"min" min:"10ms" max:"10m"`
	// Upper bound of any wait. Longer spares a project in trouble, and leaves browsers stale for
	// longer.
	Max time.Duration `key:"max" min:"10ms" max:"1h"`
}

// Feed bounds the reads that make up for what Realtime does not bring.
type Feed struct {
	// How far behind the newest row known each read begins: the longest a transaction is expected to
	// take from its first statement to its commit, since rows carry the time of the former. Longer
	// finds rows of slower transactions and reads more rows again.
	Overlap time.Duration `key:"overlap" min:"1s" max:"1h"`
	// How often rows are read while all is well, one indexed range of each table. Shorter finds a feed
	// that fell silent sooner.
	Interval time.Duration `key:"interval" min:"1s" max:"1h"`
	// How long Realtime may take to bring a row. One that it has not brought by then shows that it is
	// silent or loses changes: from then on the bridge polls, and is not live until changes come
	// again.
	Stall time.Duration `key:"stall" min:"1s" max:"10m"`
	// How many rows of each table are remembered, so that none is sent twice. About 400 bytes each. It
	// should hold the rows that change within interval and overlap; of ten times as many a few numbers
	// are kept, and beyond that browsers are asked to read anew.
	Window int `key:"window" min:"1" max:"10000000"`
}

// Polling bounds the reads that stand in for Realtime.
type Polling struct {
	// How long Realtime may be away before rows are polled.
	After time.Duration `key:"after" min:"0s" max:"1h"`
	// Time between reads while rows come. One poller serves all browsers.
	Min time.Duration `key:"min" min:"100ms" max:"10m"`
	// Time between reads when none came for a while.
	Max time.Duration `key:"max" min:"100ms" max:"1h"`
}
