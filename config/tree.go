package config

import "time"

// The comments of the fields below are more than Go documentation: they are
// what `supabridge config print --defaults` prints over each key and what
// `supabridge config schema` gives as its description (see reference.go), so
// that a key is described in one place. They are written for the person who
// runs the daemon: what the key does, what it costs, when to change it.
//
// Struct tags: key is the name in YAML; enum lists the only values allowed;
// min and max bound durations, sizes and numbers, both inclusive.

// Config is the whole configuration of the daemon. Load fills it once; nothing
// writes to it afterwards, so any number of goroutines may read it.
type Config struct {
	// Address the daemon listens on, as host:port, for Socket.IO, /healthz and /readyz.
	// An empty host listens on every interface; port 0 takes any free port.
	Listen string `key:"listen"`
	// Certificate for serving HTTPS directly. Leave empty behind a proxy that ends TLS.
	TLS TLS `key:"tls"`
	// The Supabase project whose rows are re-broadcast.
	Supabase Supabase `key:"supabase"`
	// Names of the application's tables and columns.
	Tables Tables `key:"tables"`
	// Socket.IO rooms, who may enter them, and what is remembered to find them.
	Rooms Rooms `key:"rooms"`
	// The words the frontend uses: event names and the form of payloads.
	Vocabulary Vocabulary `key:"vocabulary"`
	// The Socket.IO endpoint browsers connect to.
	SocketIO SocketIO `key:"socketio"`
	// How a browser proves who it is.
	Auth Auth `key:"auth"`
	// How much a client may do.
	Limits Limits `key:"limits"`
	// Who is online.
	Presence Presence `key:"presence"`
	// Who is typing.
	Typing Typing `key:"typing"`
	// Typing and presence shared with clients that use Supabase Realtime itself, such as supabase-js.
	Realtime Realtime `key:"realtime"`
	// Messages that browsers send over their socket.
	Sending Sending `key:"sending"`
	// Webhooks that come in, from Twilio and from Supabase, and those that go out to the application.
	Webhooks Webhooks `key:"webhooks"`
	// Publishing from the application's server.
	Publish Publish `key:"publish"`
	// Several nodes working as one, by Redis.
	Cluster Cluster `key:"cluster"`
	// Running the daemon.
	Ops Ops `key:"ops"`
	// Logging.
	Log Log `key:"log"`

	origins  map[string]Origin // where each leaf key's value came from; keys absent were never loaded
	warnings []string
}

// TLS names the certificate the main port serves with. Both files or neither.
type TLS struct {
	// PEM file with the certificate and its chain. A running daemon takes a renewed one on when the file changes.
	CertFile string `key:"cert_file"`
	// PEM file with the certificate's private key, likewise.
	KeyFile string `key:"key_file"`
	// Certificates that the daemon gets and renews by itself.
	ACME ACME `key:"acme"`
}

// ACME says how certificates are got from an authority.
type ACME struct {
	// Names the daemon is reached by, such as realtime.example.com; a certificate is got for each when it is first asked for, from Let's Encrypt
	// unless directory says otherwise. The authority connects to port 443 of the name, so listen must be :443 or that port be forwarded to it. Beside
	// cert_file, that serves all other names. Empty gets none.
	Domains []string `key:"domains"`
	// Directory the certificates and the account's key are kept in, made if it is not there. Required with domains: an authority gives only a few
	// certificates a week, so they must outlive a restart.
	Cache string `key:"cache"`
	// Address the authority writes to when something is wrong. May be empty.
	Email string `key:"email"`
	// Address of another authority's directory, such as that of Let's Encrypt's staging environment. Empty means Let's Encrypt.
	Directory string `key:"directory"`
}

// Supabase says where the project is and how to speak to it.
type Supabase struct {
	// Address of the project, such as https://abcdefgh.supabase.co, or http://127.0.0.1:54321
	// for a local stack. Required. Paths such as /rest/v1 are added to it.
	URL string `key:"url"`
	// The key that reads every row: the legacy service_role JWT or a newer sb_secret_… key. Required, since
	// the feed must see the rows of all tenants. Better given by the environment than in the file.
	ServiceRoleKey Secret `key:"service_role_key"`
	// The public key, legacy anon JWT or sb_publishable_…, sent beside a user's own token when Row Level Security
	// is asked what that user may see. Required unless auth.insecure_dev is on.
	AnonKey Secret `key:"anon_key"`
	// Secret that signs the project's HS256 tokens. Empty for a project that has only asymmetric signing keys; a project that
	// moved to them keeps it here for as long as tokens of both kinds live.
	JWTSecret Secret `key:"jwt_secret"`
	// Where the project publishes the public keys of its ES256 or RS256 tokens. Empty means <url>/auth/v1/.well-known/jwks.json.
	// Beside a jwt_secret it is asked only once a token comes that is signed by such a key; from then on, every 10m, and at most every 30s for a key that is not known.
	JWKSURL string `key:"jwks_url"`
	// Postgres schema of the tables. Realtime and the REST API must both expose it.
	Schema string `key:"schema"`
	// WebSocket address of Realtime. Empty means <url>/realtime/v1/websocket with ws or wss for http or https.
	// Change it only when Realtime is reached by another way than the rest.
	RealtimeURL string `key:"realtime_url"`
	// Version of the Phoenix wire format. 1.0.0 is for a self-hosted Realtime too old for 2.0.0.
	VSN string `key:"vsn" enum:"2.0.0|1.0.0"`
	// How often the connection to Realtime shows that it is alive; one whose answer is missing when the next is
	// due counts as dead. Realtime closes after 60s without one. Shorter finds a dead line sooner and costs messages.
	HeartbeatInterval time.Duration `key:"heartbeat_interval" min:"1s" max:"55s"`
	// How long joining a Realtime channel may take before it is tried again. A project that was paused answers slowly;
	// below 10s a busy one may be given up while it is still answering.
	JoinTimeout time.Duration `key:"join_timeout" min:"1s" max:"5m"`
	// Waiting between attempts to reach Realtime: doubled from min to max, each wait a random part of that.
	Reconnect Reconnect `key:"reconnect"`
	// Whether changes are also taken from broadcasts of the database, which come some 300ms sooner and bring deletes with their whole row. They need the
	// triggers that supabridge sql prints. auto joins their channel and uses what comes; on also counts on them alone while the changes of Realtime are away,
	// which auto does only once each table has shown to broadcast; off does not join it.
	FastLane string `key:"fast_lane" enum:"auto|on|off"`
	// Reading rows that Realtime did not bring: after every gap, and on a timer.
	Feed Feed `key:"feed"`
	// Reading rows while Realtime can't be had.
	Polling Polling `key:"polling"`
	// How long one REST request may take in all. A join waits at most this long for the answer whether it is allowed.
	RequestTimeout time.Duration `key:"request_timeout" min:"100ms" max:"5m"`
}

// Reconnect bounds the waits between attempts to reach Realtime.
type Reconnect struct {
	// Upper bound of the first wait.
	Min time.Duration `key:"min" min:"10ms" max:"10m"`
	// Upper bound of any wait. Longer spares a project in trouble, and leaves browsers stale for longer.
	Max time.Duration `key:"max" min:"10ms" max:"1h"`
}

// Feed bounds the reads that make up for what Realtime does not bring.
type Feed struct {
	// How far behind the newest row known each read begins: the longest a transaction is expected to take from its first statement
	// to its commit, since rows carry the time of the former. Longer finds rows of slower transactions and reads more rows again.
	Overlap time.Duration `key:"overlap" min:"1s" max:"1h"`
	// How often rows are read while all is well, one indexed range of each table. Shorter finds a feed that fell silent sooner.
	Interval time.Duration `key:"interval" min:"1s" max:"1h"`
	// How old a row that such a read finds must be for the live feed to count as silent and be joined anew.
	Stall time.Duration `key:"stall" min:"1s" max:"10m"`
	// How many rows of each table are remembered, so that none is sent twice. About 400 bytes each. It must hold the rows that change within interval and overlap.
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

// Tables maps what the bridge speaks of to the application's own names.
type Tables struct {
	// The table whose rows become events.
	Messages MessagesTable `key:"messages"`
	// The table a message belongs to; it says which tenant a conversation is of.
	Conversations ConversationsTable `key:"conversations"`
	// The table of tenants, asked with the user's own token when that names no tenant or another.
	Tenants TenantsTable `key:"tenants"`
	// The table whose rows are told as notifications, if there is one.
	Notifications NotificationsTable `key:"notifications"`
}

// MessagesTable names the table of messages and its columns.
type MessagesTable struct {
	// Name of the table. It must be in the publication supabase_realtime.
	Name string `key:"name"`
	// Column with the primary key.
	ID string `key:"id"`
	// Column with the conversation's id.
	Conversation string `key:"conversation"`
	// Column with the delivery status. A change of it is sent as a status update after the update of the row. Empty if there is none.
	Status string `key:"status"`
	// Column with the time of creation, the time of a status update where updated gives none. Empty if there is none.
	Created string `key:"created"`
	// Column with the time of the last change, the time of a status update. Empty if there is none; then it is that of the commit.
	Updated string `key:"updated"`
	// Column with the tenant's id, if the table has its own. It saves the question which tenant a conversation is of.
	Tenant string `key:"tenant"`
	// Column with the id of the user who wrote the message, as the sub of their token. A new message ends that user's typing. A table without it, or an empty name, leaves that to
	// typing.timeout.
	Sender string `key:"sender"`
}

// ConversationsTable names the table of conversations and its columns.
type ConversationsTable struct {
	// Name of the table.
	Name string `key:"name"`
	// Column with the primary key.
	ID string `key:"id"`
	// Column with the tenant's id.
	Tenant string `key:"tenant"`
	// Column with the time of creation. Empty if there is none.
	Created string `key:"created"`
	// Column with the time of the last change; see tables.messages.updated. Empty if there is none.
	Updated string `key:"updated"`
}

// TenantsTable names the table of tenants and its key.
type TenantsTable struct {
	// Name of the table.
	Name string `key:"name"`
	// Column with the primary key.
	ID string `key:"id"`
}

// NotificationsTable names the table of notifications and its columns. A row goes to the user it names; where it names none to the conversation, else to the tenant.
type NotificationsTable struct {
	// Name of the table, such as notifications. It must be in the publication supabase_realtime. Empty: there is none.
	Name string `key:"name"`
	// Column with the primary key.
	ID string `key:"id"`
	// Column with the id of the user it is for, as the sub of their token. Empty if there is none.
	User string `key:"user"`
	// Column with the conversation's id. Empty if there is none.
	Conversation string `key:"conversation"`
	// Column with the tenant's id. Empty if there is none.
	Tenant string `key:"tenant"`
	// Column with the time of creation. Empty if there is none.
	Created string `key:"created"`
	// Column with the time of the last change; see tables.messages.updated. Empty if there is none.
	Updated string `key:"updated"`
}

// Rooms says how rooms are named and who may enter them.
type Rooms struct {
	// The room of one conversation.
	Conversation Room `key:"conversation"`
	// The room of everything that concerns one tenant.
	Tenant Room `key:"tenant"`
	// How long the answer whether a user may enter is kept.
	Authorization Authorization `key:"authorization"`
	// How many conversations the bridge remembers the tenant of. About 200 bytes each. One that is forgotten costs a
	// request at its next message, so it should hold those active within a day.
	TenantCacheSize int `key:"tenant_cache_size" min:"1" max:"100000000"`
	// How many messages the bridge remembers the conversation of, so that a delete, which carries the key only, reaches
	// its room. About 200 bytes each. The delete of one that is forgotten asks every browser to resync, unless the table has replica identity full.
	MessageCacheSize int `key:"message_cache_size" min:"1" max:"100000000"`
}

// Room names one kind of room.
type Room struct {
	// Name of the room; {id} stands for the id, {conversation} and {tenant} for the nouns of the vocabulary. Servers that publish to rooms must use the same.
	Name string `key:"name"`
	// Further room names that browsers send in place of an id, such as conv_{id}; the id is taken out of them. They name no rooms here.
	Parse []string `key:"parse"`
	// Who may enter, asked in this order until one of them lets the user in; where none does nobody enters. claim: the token names the room, in one of claims or, of a
	// tenant, in one of auth.tenant_claims. rls: Row Level Security shows the user the row of the conversation or of the tenant. tenant, of conversations only: the
	// user may enter the room of the conversation's tenant. membership: a row of the membership table joins the user with the room. callback: the
	// application says so, at rooms.authorization.callback.
	Rules []string `key:"rules" enum:"claim|rls|tenant|membership|callback"`
	// Paths of claims for the rule claim, such as app_metadata.teams: the id of the room, or a list of such ids. As in auth.tenant_claims none that users write.
	Claims []string `key:"claims"`
	// Where the rule membership looks.
	Membership Membership `key:"membership"`
}

// Membership names a table whose rows join users with rooms. It is read with the service key.
type Membership struct {
	// Name of the table, such as conversation_members.
	Table string `key:"table"`
	// Column with the user's id, the sub of the token.
	User string `key:"user"`
	// Column with the id of the conversation or the tenant.
	Room string `key:"room"`
}

// Authorization bounds how long an answer who may enter a room is kept, and how it is asked of the application.
type Authorization struct {
	// How long a user who was let in may enter the same room again without another question; never
	// longer than the token lives. Shorter notices a withdrawn right sooner and costs requests. 0s asks every time.
	AllowedFor time.Duration `key:"allowed_for" min:"0s" max:"24h"`
	// How long a refusal is kept. It spares the database a client that tries again and again; a right just given waits this long. 0s asks every time.
	RefusedFor time.Duration `key:"refused_for" min:"0s" max:"24h"`
	// How many answers of each kind, yes and no, are kept, those unused for longest being dropped first. About 300 bytes each.
	CacheSize int `key:"cache_size" min:"1" max:"10000000"`
	// How often it is asked again, for everybody who is in a room, whether he still may be. One who may not is out of the room; a right that is withdrawn is
	// noticed within this time at the latest, and at once where the conversation goes to another tenant or the browser sends another token. Questions are spread
	// over it, one for all rooms of a token. 0s never asks.
	RecheckEvery time.Duration `key:"recheck_every" min:"0s" max:"24h"`
	// Most questions a second for that. Where there are more to ask within recheck_every it takes longer.
	RecheckRate int `key:"recheck_rate" min:"1" max:"100000"`
	// The application's own say, for the rule callback.
	Callback Callback `key:"callback"`
}

// Callback asks the application who may enter a room.
type Callback struct {
	// Address that is posted {user: {id, name, role, tenant}, room: {kind, id}}, kind being conversation or tenant. It lets the user in by 200 and {allow: true}; id beside it
	// is the room's id where the row spells it another way. Any other 200, and 403 and 404, are a no; anything else is no answer.
	URL string `key:"url"`
	// Secret the question is signed with, as X-Bridge-Signature: t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">. Required with url.
	Secret Secret `key:"secret"`
	// How long an answer may take. The join waits for it.
	Timeout time.Duration `key:"timeout" min:"10ms" max:"1m"`
	// Most questions under way at once; further ones wait, within the same time.
	Concurrency int `key:"concurrency" min:"1" max:"10000"`
}

// Vocabulary chooses the names and forms the frontend expects.
type Vocabulary struct {
	// Style of the events sent to a browser that has shown none: underscore new_message, colon message:new, kebab new-message, camel newMessage,
	// whaticket appMessage with an action within, none only what vocabulary.out says.
	Preset string `key:"preset" enum:"underscore|colon|kebab|camel|whaticket|none"`
	// auto: the style of the first event a browser sends that has one is the style it hears from then on, since nearly all frontends keep to one. fixed: every
	// browser hears vocabulary.preset. Each style in use has an event encoded once more.
	Dialect string `key:"dialect" enum:"auto|fixed"`
	// Styles understood from browsers: all, or some by name; tutorial are the names with spaces, as join chat. Names that every style has, and those of
	// vocabulary.in, always are.
	Accept []string `key:"accept" enum:"all|underscore|colon|kebab|camel|whaticket|tutorial"`
	// Form of a message's payload: row as in the table, camel or snake with keys in that case, wrapped as {message: …},
	// superset all of these at once. superset fits most frontends unchanged and costs about three times the bytes of row.
	// A value of more than 16KiB stands in an event once in any case, under its column's name; see max_row for how an event says so.
	Shape string `key:"shape" enum:"row|camel|snake|superset|wrapped"`
	// Largest row that is sent whole. A larger one goes without its largest columns. Where an event, or the message within it, lacks columns for their size, it has a field
	// _truncated with their names as they would be spelled there, such as ["content"]; the frontend reads the row itself where it needs them. More needs more of socketio.max_queue.
	MaxRow Size `key:"max_row" min:"4KiB" max:"64MiB"`
	// What the frontend calls a conversation in event names and payload keys, such as ticket or chat: join_<noun>, <noun>Id.
	ConversationNoun string `key:"conversation_noun"`
	// What the frontend calls a tenant, such as organization or workspace: join_<noun>, <noun>Id.
	TenantNoun string `key:"tenant_noun"`
	// Name of the event that tells every browser, on connecting and on each change, how the feed stands: {state: live, catching_up, polling or down, since, lag_ms}. Empty sends none.
	StatusEvent string `key:"status_event"`
	// Name of the event that asks a browser to read its rooms anew, since deletes may have been missed: {since, reason}. Empty sends none.
	ResyncEvent string `key:"resync_event"`
	// Where ids stand in what a browser sends.
	IDs VocabularyIDs `key:"ids"`
	// Further events that are understood, by intent: join, leave, join_tenant, leave_tenant, join_own_tenant, typing_start, typing_stop, typing, list_online, list_presence,
	// set_status, mark_read, renew_token, heartbeat, send_message. Each takes events (names, in which {tenant}, {Tenant}, {conversation} stand for the nouns), id (selectors, as in
	// vocabulary.ids), for typing and set_status state (selectors of the boolean or the word), for send_message text (selectors of it), and ack (a template of the answer).
	In InRules `key:"in"`
	// Rules that stand in place of what the presets send, by event: message.created, message.updated, message.deleted, message.status, conversation.created,
	// conversation.updated, conversation.deleted, typing.start, typing.stop, user.online, user.offline, presence, presence.list, presence.snapshot, notification, notification.updated, read, joined, left, token.expiring, error. A rule
	// takes event (the name), to (conversation, tenant, user, socket, all), except (sender or nobody), when (values of columns), shape, pick, omit, rename, add, map (values by
	// path of a field), and payload or args. An empty list sends nothing. Texts hold variables: ${row.id}, ${conversation.id}, ${tenant.id}, ${user.id}, ${user.name}, ${payload}, ${payload.field}.
	Out OutRules `key:"out"`
}

// VocabularyIDs says where ids stand.
type VocabularyIDs struct {
	// Selectors of the conversation's id, the first hit counting: $0 an argument, $0.room.id a field of it, auth.x, claims.x, query.x, header.x, cookie.x.
	// Empty looks where frontends are known to have it: in the first argument itself, or in its fields conversationId, roomId and the like, however
	// they are spelled (conversationID, convo_id): the noun above counts first, a plain id last.
	Conversation []string `key:"conversation"`
	// Selectors of the tenant's id likewise. Where none hits it is the tenant that the token names.
	Tenant []string `key:"tenant"`
}

// SocketIO sets up the endpoint browsers connect to.
type SocketIO struct {
	// Paths the endpoint answers at, each with and without a trailing slash.
	Paths []string `key:"paths"`
	// Namespaces a client may connect to. All have the same rooms and events.
	Namespaces []string `key:"namespaces"`
	// Transports offered. Without polling, clients with default options can't connect; without websocket every client polls.
	Transports []string `key:"transports" enum:"polling|websocket"`
	// How often the server pings a client. Shorter finds a dead client sooner and costs a packet for each client and ping;
	// a proxy that closes idle connections needs less than its own limit.
	PingInterval time.Duration `key:"ping_interval" min:"1s" max:"10m"`
	// How long a client may take to answer a ping before it counts as gone. Phones in the background need the 20s.
	PingTimeout time.Duration `key:"ping_timeout" min:"1s" max:"10m"`
	// How long a connection may stay without joining a namespace before it is closed.
	ConnectTimeout time.Duration `key:"connect_timeout" min:"1s" max:"10m"`
	// How long the change from polling to websocket may take before it is given up and polling goes on.
	UpgradeTimeout time.Duration `key:"upgrade_timeout" min:"1s" max:"10m"`
	// Largest message accepted from a client; a larger one closes the connection. It bounds the memory a client can make the server hold.
	MaxPayload Size `key:"max_payload" min:"1KiB" max:"1GiB"`
	// Largest message accepted from a client that has entered no namespace yet, or has yet to send its token (auth.credentials with event). It must hold the connect
	// packet, with the token or the cookies that a frontend sends there. A larger one closes the connection. Bytes are not taken before the connect packet at all.
	MaxPayloadBeforeConnect Size `key:"max_payload_before_connect" min:"1KiB" max:"64MiB"`
	// Most memory for messages that are not complete, of all clients together: halves of frames and of request bodies, and events whose attachments are still
	// to come. Clients that have entered no namespace share a quarter of it. Beyond it connections are closed ("incomplete message"), first those from the address that
	// sent most, and of these the one whose message is oldest. A message that is not complete after ping_interval and ping_timeout closes its connection too.
	MaxPartial Size `key:"max_partial" min:"4MiB" max:"64GiB"`
	// Most packets a client may send in a second, over time; one that was silent may send those of ten seconds at once. Every packet counts, pings of websockets
	// and what limits.socket.events refuses included: one that goes on beyond that is closed, since reading and refusing costs too. So keep it well above that. 0 is no bound.
	MaxRate int `key:"max_rate" min:"0" max:"1000000"`
	// Most bytes waiting to be sent to one client. One that falls further behind is closed ("queue full"), and may come back. It must hold a burst: a transaction of
	// 5,000 rows takes some 15 MiB. A client that does not read at all is closed after ping_interval and ping_timeout in any case.
	MaxQueue Size `key:"max_queue" min:"16KiB" max:"1GiB"`
	// Most bytes waiting to be sent to all clients together. What was sent to several is held once, and counts once. Beyond it those for whom most is waiting are
	// closed, until it is less again. It is the most memory that slow clients can take.
	MaxQueues Size `key:"max_queues" min:"1MiB" max:"64GiB"`
	// Browsers that lost their connection for a moment get the events they missed.
	Recovery Recovery `key:"recovery"`
	// Pages of other origins that may connect.
	CORS CORS `key:"cors"`
	// Socket.IO's own Admin UI.
	Admin Admin `key:"admin"`
}

// Admin lets the Admin UI of Socket.IO connect: npm @socket.io/admin-ui, or https://admin.socket.io.
type Admin struct {
	// Name that those who look have to give. The UI connects to this server's address, namespace /admin; its page's origin must be in
	// socketio.cors.origins. Use it over TLS only. Empty turns it off, and the namespace does not exist.
	Username string `key:"username"`
	// bcrypt hash of their password, as printed by: htpasswd -nbBC 10 "" PASSWORD | tr -d ':'. In a .env file it
	// stands in single quotes, since it holds dollar signs. Required with username.
	PasswordHash Secret `key:"password_hash"`
	// development shows servers, sockets, rooms and events as they happen, up to 200 events a second; production shows counts only, and names no user.
	Mode string `key:"mode" enum:"development|production"`
	// Show the contents of events, which are the users' messages. Otherwise their names and sizes are shown.
	Bodies bool `key:"bodies"`
	// What an admin may do to sockets. join and emit get around what decides who may read a room: a socket that is made to join one hears all of it.
	Allow []string `key:"allow" enum:"emit|join|leave|disconnect"`
}

// Recovery bounds what is kept for browsers that come back.
type Recovery struct {
	// How long a browser may be away and still get back its rooms and every event it missed, in order. One that was away for longer reads
	// what it missed by joining with since. 0s turns recovery off.
	Window time.Duration `key:"window" min:"0s" max:"1h"`
	// Most memory taken by events kept for that, in each namespace. A browser that missed one which had to go is not recovered.
	Memory Size `key:"memory" min:"64KiB" max:"64GiB"`
}

// CORS names the web origins allowed besides the server's own.
type CORS struct {
	// Origins such as https://app.example.com, or "*" for any. Named origins are the only ones whose pages may connect. Empty
	// lets pages of the server's own origin poll, and pages of any origin use websockets, as browsers don't ask there. Where
	// tokens come from cookies origins must be named, since any page could otherwise act as its visitor.
	Origins []string `key:"origins"`
}

// Auth says how browsers are authenticated.
type Auth struct {
	// Let in browsers that bring no token, as whom they say they are and into every room; a token that is brought is checked all
	// the same. For trying things out on one's own machine only: anybody who reaches the port reads every message. Loud in the log.
	InsecureDev bool `key:"insecure_dev"`
	// Where a browser's token is looked for, in order; the first found counts: auth.<name> of the Socket.IO connect packet (auth.session.access_token for one further in),
	// header.<name>, query.<name> or cookie.<name> of the request. "Bearer " in front is taken off. Tokens in a query end up in the logs of proxies. cookie.sb-*-auth-token is the session
	// that Supabase's own libraries keep, whole or in chunks. event, as the last, lets a browser connect without a token: it hears nothing and may do nothing until it sends one
	// in an authenticate event (or access_token, token:refresh).
	Credentials []string `key:"credentials"`
	// How long a browser that connected without a token has to send one before it is disconnected, where credentials end with event.
	AuthenticateWithin time.Duration `key:"authenticate_within" min:"1s" max:"10m"`
	// What a token's aud claim must contain. Empty checks nothing. Supabase gives signed-in users authenticated.
	Audience string `key:"audience"`
	// What a token's iss claim must be, one of these, such as https://abcdefgh.supabase.co/auth/v1. Empty checks nothing, since nobody else has the project's keys.
	Issuers []string `key:"issuers"`
	// How far clocks may differ when a token's times are checked.
	Leeway time.Duration `key:"leeway" min:"0s" max:"10m"`
	// Claims that may hold the user's tenant, in order; the first present counts. It is entered at once and without a
	// question, so name only claims the user can't write: app_metadata, never user_metadata. Other tenants, and all where
	// no claim is present, are asked of the table of tenants with the user's token.
	TenantClaims []string `key:"tenant_claims"`
	// Claims under user_metadata that may be used in tenant_claims and in the claims of rooms all the same, by name. A user writes them, and so can make himself
	// a member of anything they decide on: name one only where your project keeps users from changing it.
	UserWrittenClaims []string `key:"user_written_claims"`
	// Text a refused browser gets with connect_error. Some frontends compare it.
	RefuseMessage string `key:"refuse_message"`
	// Other texts for single reasons, as "token_expired=jwt expired". The reasons are no_token, token_expired, unauthorized and too_many_connections; a
	// browser finds them in the error's data.code too.
	RefuseMessages []string `key:"refuse_messages"`
}

// Limits bounds what one socket, one user and one address may do. What is beyond is answered with the code of the limit, and counted.
type Limits struct {
	// Networks of proxies whose X-Forwarded-For is believed, as 10.0.0.0/8. Behind a proxy that is not named all browsers have that one's address.
	TrustedProxies []string `key:"trusted_proxies"`
	// One connection in one namespace.
	Socket SocketLimits `key:"socket"`
	// All sockets of one user, in all tabs and on all devices.
	User PeerLimits `key:"user"`
	// All connections from one address; of IPv6 one network of 64 bits counts as one. Offices and phone networks have many people behind one.
	Address PeerLimits `key:"address"`
}

// SocketLimits bounds one socket.
type SocketLimits struct {
	// Most conversations and tenants it may be in.
	Rooms int `key:"rooms" min:"1" max:"1000000"`
	// Events a second and at once, by intent (those of vocabulary.in), as join=20:200; * are all events together, those that the vocabulary doesn't know included.
	// What is beyond is refused with rate_limited, and the connection stays. Empty bounds none.
	Events []string `key:"events"`
	// Largest event, all its arguments together. One that is larger is refused; one above socketio.max_payload closes the connection.
	EventSize Size `key:"event_size" min:"1KiB" max:"1GiB"`
}

// PeerLimits bounds all that one user or one address has. 0 is no bound.
type PeerLimits struct {
	// Most connections at the same time. A further one is refused.
	Connections int `key:"connections" min:"0" max:"10000000"`
	// Most rooms its sockets may be in, added up.
	Rooms int `key:"rooms" min:"0" max:"100000000"`
	// Events a second and at once, by intent, as in limits.socket.events.
	Events []string `key:"events"`
}

// Presence says how it is told who is online.
type Presence struct {
	// Tell browsers of a tenant who of them is online. With many users each coming and going costs a packet for every other.
	Enabled bool `key:"enabled"`
	// How long a user stays online after the last connection closed, so that a reload of the page isn't told to all. 0s tells at once. Where the browser says that the page
	// was closed or loaded anew, or the frontend disconnects, nobody waits longer than 3s.
	Grace time.Duration `key:"grace" min:"0s" max:"10m"`
	// How many users that went are remembered, of all tenants, with the time they were seen last. About 200 bytes each.
	Remember int `key:"remember" min:"1" max:"10000000"`
}

// Typing says how it is told who is typing.
type Typing struct {
	// Pass on who is typing to the others in the conversation.
	Enabled bool `key:"enabled"`
	// How long after a user's last sign of typing the bridge itself says that it has stopped. Frontends repeat the sign every 1s to 3s, so below 4s it flickers.
	Timeout time.Duration `key:"timeout" min:"500ms" max:"10m"`
	// How often a sign of typing that is repeated is passed on. Many frontends take down what they show 3s after they last heard of it, so it should be below that; each costs a
	// packet for everybody in the conversation. 0s passes on the first only.
	Repeat time.Duration `key:"repeat" min:"0s" max:"1m"`
}

// Realtime says what is shared with clients of Supabase Realtime. It uses connections of its own beside the one that carries changes, and only while somebody is there.
type Realtime struct {
	// Typing, as Realtime Broadcast.
	Typing RealtimeTyping `key:"typing"`
	// Who is online, as Realtime Presence.
	Presence RealtimePresence `key:"presence"`
	// Most channels joined at once; Supabase takes 100 on one connection. Conversations and tenants beyond are not shared, which is logged and counted.
	MaxChannels int `key:"max_channels" min:"1" max:"100"`
	// Most signs of typing sent a second, all conversations together. Supabase counts each once, and once more for each client that gets it, against the project's messages a second.
	BroadcastsPerSecond int `key:"broadcasts_per_second" min:"1" max:"2500"`
	// How long a channel stays joined after the last browser left what it is about, since joining costs.
	Linger time.Duration `key:"linger" min:"0s" max:"1h"`
}

// RealtimeTyping says how typing is shared.
type RealtimeTyping struct {
	// in: browsers hear of clients of Realtime; out: those hear of browsers; both; off. What comes in is believed: on a topic that is not private anybody with the public key can say
	// that anybody types.
	Share string `key:"share" enum:"off|in|out|both"`
	// Name of the channel, as supabase.channel(name); {conversation} or {tenant} stands for the id.
	Topic string `key:"topic"`
	// Name of the broadcast, whose payload has conversationId, userId, userName and isTyping, also in snake_case. Coming in a missing isTyping means true.
	Event string `key:"event"`
	// Name of the broadcast that ends typing. Empty: it is event with isTyping false.
	StopEvent string `key:"stop_event"`
	// Whether the channel is private, so that policies of realtime.messages decide who may listen and speak.
	Private bool `key:"private"`
}

// RealtimePresence says how it is shared who is online.
type RealtimePresence struct {
	// in, out, both or off, as for typing.
	Share string `key:"share" enum:"off|in|out|both"`
	// Name of the channel; {tenant} stands for the id and must be there, since who is online is a tenant's own.
	Topic string `key:"topic"`
	// Whether the channel is private.
	Private bool `key:"private"`
	// How many users of one tenant are each a presence of their own, as supabase-js clients expect, under their id as key and with userId, userName, status, online_at. It takes as many
	// connections to Realtime as the tenant with most users online has, up to this. Users beyond are one presence together, which lists them under users.
	Seats int `key:"seats" min:"0" max:"100"`
}

// Sending says what becomes of messages that browsers send over their socket.
type Sending struct {
	// Write them to tables.messages, with the user's own token, so that Row Level Security decides. Off answers that messages are written through Supabase.
	Enabled bool `key:"enabled"`
	// Column that the text is written to.
	Content string `key:"content"`
	// Column that the user's id is written to. Empty writes none.
	Sender string `key:"sender"`
	// Further columns that browsers may set, under their names or those in camelCase, such as attachments, reply_to_message_id.
	Fields []string `key:"fields"`
	// Columns that are always written, as column=text or column:=json, such as "status=SENT", "is_from_customer:=false".
	Set []string `key:"set"`
}

// Webhooks says which webhooks are taken and sent.
type Webhooks struct {
	// Messages and delivery statuses from Twilio.
	Twilio Twilio `key:"twilio"`
	// Supabase Database Webhooks: a second source of row changes beside Realtime.
	Supabase DatabaseWebhook `key:"supabase"`
	// Webhooks to the application: who is online, which rooms are occupied, what was read.
	Outgoing Outgoing `key:"outgoing"`
	// The file in which webhooks wait, on their way in and out.
	Outbox Outbox `key:"outbox"`
}

// Twilio says what becomes of Twilio's webhooks.
type Twilio struct {
	// Auth tokens of the accounts whose webhooks are taken, with commas between: two while a token is rotated, and those of sub-accounts. Empty takes none, and no path exists.
	AuthTokens Secret `key:"auth_tokens"`
	// Paths that webhooks are posted to.
	Paths []string `key:"paths"`
	// Addresses Twilio was given, as https://hooks.example.com, with the path where a proxy takes part of it off. The signature is over the address, so it must be known;
	// empty takes it from each request, which fits only where nothing in front changes scheme or host.
	PublicURLs []string `key:"public_urls"`
	// Networks of proxies whose X-Forwarded-Proto and X-Forwarded-Host are believed, as 10.0.0.0/8. Needed only where public_urls is empty.
	TrustedProxies []string `key:"trusted_proxies"`
	// What is done with a webhook. forward: posted to forward_url as it came. store: written to the tables. emit: sent to browsers at once, before it is stored. Several may be
	// combined; emit alone is for an application that stores by itself.
	Modes []string `key:"modes" enum:"forward|store|emit"`
	// The application's own route, which gets what Twilio sent, body and headers, signed anew for this address. Required for forward.
	ForwardURL string `key:"forward_url"`
	// Largest body taken. Twilio's are of a few KiB.
	MaxBody Size `key:"max_body" min:"1KiB" max:"3MiB"`
	// How events become rows.
	Store TwilioStore `key:"store"`
}

// TwilioStore maps Twilio's parameters to columns.
type TwilioStore struct {
	// Column of tables.messages with Twilio's MessageSid. It needs a unique constraint: that is what makes a message be stored once.
	SidColumn string `key:"sid_column"`
	// Columns of a message: "column=text", "column?=text" to leave the column out where the text is empty, "column:=json". {Name} stands for the parameter of
	// that name or the result of a lookup; {conversation}, {status}, {media}, {params}, {FromNumber}, {ToNumber}, {Channel} and {MessageUUID} are made by the bridge.
	Columns []string `key:"columns"`
	// The application's words for Twilio's statuses, as "delivered=DELIVERED". A status without a word leaves the column alone. A status is written only where it is later in
	// the order of sent, delivered and read, or the end of one not delivered yet. received is the status of a message that comes in, for {status}.
	Statuses []string `key:"statuses"`
	// Columns written when a message failed, in the form of columns, such as "error_code?={ErrorCode}". Empty writes none.
	FailureColumns []string `key:"failure_columns"`
	// Values found in other tables, in order, as "distributor = distributors.id where phone={ToNumber}"; further conditions after " and ". {distributor} then stands for it.
	Lookups []string `key:"lookups"`
	// What a message's conversation is found by, in the form of columns.
	ConversationFind []string `key:"conversation_find"`
	// Columns of a new conversation beside those it is found by. Empty makes none: the message then waits, and is a dead letter in the end.
	ConversationCreate []string `key:"conversation_create"`
	// Function of the database that finds or makes the conversation in one call and answers with its id; conversation_create are its arguments then. Empty asks the tables.
	ConversationFunction string `key:"conversation_function"`
}

// DatabaseWebhook takes Supabase's webhooks of row changes.
type DatabaseWebhook struct {
	// Secret that a webhook brings as "Authorization: Bearer". Empty takes none, and the path does not exist.
	Secret Secret `key:"secret"`
	// Path that webhooks are posted to.
	Path string `key:"path"`
	// Largest body taken; a row that is larger comes by Realtime alone.
	MaxBody Size `key:"max_body" min:"1KiB" max:"64MiB"`
}

// Outgoing sends webhooks to the application.
type Outgoing struct {
	// Address the webhooks are posted to. Empty sends none.
	URL string `key:"url"`
	// Secret they are signed with, as X-Bridge-Signature: t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">. Required with url.
	Secret Secret `key:"secret"`
	// What is told. Rooms come and go with every browser: with many that is many webhooks. In a cluster it is told of all nodes as of one, and each knows the rooms of all.
	Events []string `key:"events" enum:"user_online|user_offline|room_occupied|room_vacated|messages_read"`
}

// Outbox bounds the file.
type Outbox struct {
	// File, which is made if it is not there; its directory must be. Required for Twilio's webhooks that are forwarded or stored, and for outgoing ones. On a disk that keeps what it has synced.
	Path string `key:"path"`
	// Most that may wait in it. Beyond that webhooks are answered 503. The file itself may grow to somewhat more than twice this.
	MaxSize Size `key:"max_size" min:"1MiB" max:"1024GiB"`
	// How long a delivery is tried before it is put aside for people to look at: supabridge outbox.
	MaxAge time.Duration `key:"max_age" min:"1m" max:"8760h"`
	// How long what was put aside is kept.
	KeepDead time.Duration `key:"keep_dead" min:"1h" max:"87600h"`
	// How long a webhook is remembered, so that its repetitions are not taken again. At most a million are.
	DedupeFor time.Duration `key:"dedupe_for" min:"10m" max:"168h"`
	// Deliveries under way at once, to each target. More drain a backlog sooner and load the database.
	Workers int `key:"workers" min:"1" max:"1000"`
	// Longest wait between attempts.
	RetryMax time.Duration `key:"retry_max" min:"1s" max:"1h"`
}

// Publish lets the application's server send events to browsers.
type Publish struct {
	// Secret the server shows, as "Authorization: Bearer" or by signing with it: X-Bridge-Signature: t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">. Who has it can send
	// anything to anybody. Empty turns publishing off, and the paths do not exist.
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
	// Address of the Redis that all nodes share, as redis://:password@host:6379/0, rediss:// for TLS, or unix:///path. Empty runs this node alone. While it is away each node
	// goes on with its own browsers. A Redis Cluster takes nodes of it, redis://:password@host1:6379?addr=host2:6379&addr=host3:6379 (one that has a single address, that twice),
	// Sentinels the name they have for the Redis, redis://sentinel1:26379/0?master_name=mymaster&addr=sentinel2:26379&password=secret.
	Redis Secret `key:"redis"`
	// How nodes speak through Redis. pubsub is what createAdapter of @socket.io/redis-adapter and @socket.io/redis-emitter speak; sharded is what createShardedAdapter does,
	// needs Redis 7, and has each node hear only of rooms it has, but no emitter reaches it. streams is what createAdapter of @socket.io/redis-streams-adapter does: what is sent to rooms
	// stays in Redis for a while, so that a node which loses Redis for a moment misses nothing, and a browser that comes back to another node than it left gets what it missed;
	// the emitter does not reach it. All nodes must have the same.
	Mode string `key:"mode" enum:"pubsub|sharded|streams"`
	// How many events stay in Redis in the mode streams. It has to hold what all nodes send to rooms within socketio.recovery.window, or browsers that come back to another node are
	// not always recovered there; each takes some hundred bytes more than its content.
	StreamLength int `key:"stream_length" min:"1000" max:"10000000"`
	// What the names of channels begin with: the option key of the adapter and the emitter, channelPrefix of the sharded one; in the mode streams it is the options streamName and channelPrefix. Projects
	// that share a Redis need different ones.
	Prefix string `key:"prefix"`
	// Send row changes, typing and presence to the rooms of Socket.IO servers in Node too, while there are any in the cluster, as the preset of vocabulary says them. false where
	// those servers tell their own clients of them.
	Relay bool `key:"relay"`
	// Which node hears Realtime and reads rows that it did not bring. each: every node does, so that a Redis that is away costs nothing. leader: one does and tells the
	// others by way of Redis, which saves Supabase connections, messages and reads; another takes its place within cluster.lease and a third of it, and a node that can't hear a leader
	// hears Realtime for itself. All nodes must have the same.
	Changes string `key:"changes" enum:"each|leader"`
	// How long a node may be silent before it counts as dead: its users then go offline (after presence.grace), and another node takes its place if it led. Shorter notices
	// sooner, and takes a node that is short of breath for dead; each node sends three signs of life in this time.
	Lease time.Duration `key:"lease" min:"500ms" max:"5m"`
	// Most bytes that wait to be sent to the other nodes while Redis is slow or away. What finds no place is lost to their browsers, and counted.
	MaxQueue Size `key:"max_queue" min:"64KiB" max:"1GiB"`
	// How long something waits for a Redis that is away before it is dropped. Longer brings old news when it is back.
	MaxWait time.Duration `key:"max_wait" min:"1s" max:"10m"`
}

// Ops is for those who run the daemon.
type Ops struct {
	// Address of the port for operators, as host:port: a status page at /, /metrics for Prometheus, /debug/pprof/, /healthz and /readyz. Keep it on loopback
	// or a private network: it asks for no password. Empty opens none.
	Listen string `key:"listen"`
	// Traces of messages on their way from a webhook, or from the database, to browsers.
	Traces Traces `key:"traces"`
	// Let supabridge tail --bodies show rows, which are people's messages, to whoever reaches ops.listen.
	TailBodies bool `key:"tail_bodies"`
	// How long stopping may take: from the signal until what is in flight is sent and every connection is closed. What is left then is cut off.
	// The supervisor's own limit should be a few seconds more.
	ShutdownTimeout time.Duration `key:"shutdown_timeout" min:"0s" max:"10m"`
}

// Traces sends spans to a collector of OpenTelemetry.
type Traces struct {
	// Address of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces. Headers it wants go into OTEL_EXPORTER_OTLP_HEADERS. Spans hold ids and
	// rooms, never contents. Empty sends none.
	URL string `key:"url"`
	// Of how many messages one is traced. 1 traces each.
	OneIn int `key:"one_in" min:"1" max:"1000000"`
}

// Log says what is logged and how.
type Log struct {
	// The least severe lines written: trace, debug, info, warn or error. debug writes a line for each packet.
	Level string `key:"level" enum:"trace|debug|info|warn|error"`
	// json writes a JSON object a line, pretty lines for people, auto pretty on a terminal and json otherwise.
	Format string `key:"format" enum:"auto|json|pretty"`
}
