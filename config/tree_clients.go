package config

import "time"

// Auth says how browsers are authenticated.
type Auth struct {
	// Let in browsers that bring no token, as whom they say they are and into every room; a token that
	// is brought is checked all the same. For trying things out on one's own machine: listen must be a
	// loopback address, only pages of localhost may connect, and only by that name or an address.
	// Whoever can start a program on the machine reads every message. Loud in the log.
	InsecureDev bool `key:"insecure_dev"`
	// Where a browser's token is looked for, in order; the first found counts: auth.<name> of the
	// Socket.IO connect packet (auth.session.access_token for one further in), header.<name>,
	// query.<name> or cookie.<name> of the request. "Bearer " in front is taken off. Tokens in a query
	// end up in the logs of proxies. cookie.sb-*-auth-token is the session that Supabase's own
	// libraries keep, whole or in chunks. event, as the last, lets a browser connect without a token:
	// it hears nothing and may do nothing until it sends one in an authenticate event (or
	// access_token, token:refresh).
	Credentials []string `key:"credentials"`
	// How long a browser that connected without a token has to send one before it is disconnected,
	// where credentials end with event.
	AuthenticateWithin time.Duration `key:"authenticate_within" min:"1s" max:"10m"`
	// What a token's aud claim must contain. Empty checks nothing. Supabase gives signed-in users
	// authenticated.
	Audience string `key:"audience"`
	// What a token's iss claim must be, one of these, such as https://abcdefgh.supabase.co/auth/v1.
	// Empty checks nothing, since nobody else has the project's keys.
	Issuers []string `key:"issuers"`
	// How far clocks may differ when a token's times are checked: a token is taken, and its connection
	// kept, until this long after its exp.
	Leeway time.Duration `key:"leeway" min:"0s" max:"10m"`
	// Claims that may hold the user's tenant, in order; the first present counts. It is entered at
	// once and without a question, so name only claims the user can't write: app_metadata, never
	// user_metadata. Other tenants, and all where no claim is present, are asked of the table of
	// tenants with the user's token.
	TenantClaims []string `key:"tenant_claims"`
	// Claims under user_metadata that may be used in tenant_claims and in the claims of rooms all the
	// same, by name. A user writes them, and so can make himself a member of anything they decide on:
	// name one only where your project keeps users from changing it.
	UserWrittenClaims []string `key:"user_written_claims"`
	// Text a refused browser gets with connect_error. Some frontends compare it.
	RefuseMessage string `key:"refuse_message"`
	// Other texts for single reasons, as "token_expired=jwt expired". The reasons are no_token,
	// token_expired and unauthorized, which a browser finds in the error's data.code too, and for a
	// token that comes by an event also too_many_connections and unavailable, which pass by
	// themselves.
	RefuseMessages []string `key:"refuse_messages"`
}

// Limits bounds what one socket, one user and one address may do. What is beyond is answered with
// the code of the limit, and counted.
type Limits struct {
	// Networks of proxies whose X-Forwarded-For and X-Forwarded-Host are believed, as 10.0.0.0/8.
	// Behind a proxy that is not named all browsers have that one's address.
	TrustedProxies []string `key:"trusted_proxies"`
	// One connection in one namespace.
	Socket SocketLimits `key:"socket"`
	// All sockets of one user, in all tabs and on all devices.
	User PeerLimits `key:"user"`
	// All connections from one address; of IPv6 one network of 64 bits counts as one. Offices and
	// phone networks have many people behind one.
	Address PeerLimits `key:"address"`
}

// SocketLimits bounds one socket.
type SocketLimits struct {
	// Most conversations and tenants it may be in.
	Rooms int `key:"rooms" min:"1" max:"1000000"`
	// Events a second and at once, by intent (those of vocabulary.in), as join=20:200; * are all
	// events together, those that the vocabulary doesn't know included. What is beyond is refused with
	// rate_limited, and the connection stays. Empty bounds none.
	Events []string `key:"events"`
	// Largest event, all its arguments together. One that is larger is refused; one above
	// socketio.max_payload closes the connection.
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
	// Tell browsers of a tenant who of them is online. With many users each coming and going costs a
	// packet for every other.
	Enabled bool `key:"enabled"`
	// How long a user stays online after the last connection closed, so that a reload of the page
	// isn't told to all. 0s tells at once. Where the browser says that the page was closed or loaded
	// anew, or the frontend disconnects, nobody waits longer than 3s.
	Grace time.Duration `key:"grace" min:"0s" max:"10m"`
	// How many users that went are remembered, of all tenants, with the time they were seen last.
	// About 200 bytes each.
	Remember int `key:"remember" min:"1" max:"10000000"`
}

// Typing says how it is told who is typing.
type Typing struct {
	// Pass on who is typing to the others in the conversation.
	Enabled bool `key:"enabled"`
	// How long after a user's last sign of typing the bridge itself says that it has stopped.
	// Frontends repeat the sign every 1s to 3s, so below 4s it flickers.
	Timeout time.Duration `key:"timeout" min:"500ms" max:"10m"`
	// How often a sign of typing that is repeated is passed on. Many frontends take down what they
	// show 3s after they last heard of it, so it should be below that; each costs a packet for
	// everybody in the conversation. 0s passes on the first only.
	Repeat time.Duration `key:"repeat" min:"0s" max:"1m"`
}

// Realtime says what is shared with clients of Supabase Realtime. It uses connections of its own
// beside the one that carries changes, and only while somebody is there.
type Realtime struct {
	// Typing, as Realtime Broadcast.
	Typing RealtimeTyping `key:"typing"`
	// Who is online, as Realtime Presence.
	Presence RealtimePresence `key:"presence"`
	// Most channels joined at once; Supabase takes 100 on one connection. Conversations and tenants
	// beyond are not shared, which is logged and counted.
	MaxChannels int `key:"max_channels" min:"1" max:"100"`
	// Most signs of typing sent a second, all conversations together. Supabase counts each once, and
	// once more for each client that gets it, against the project's messages a second.
	BroadcastsPerSecond int `key:"broadcasts_per_second" min:"1" max:"2500"`
	// How long a channel stays joined after the last browser left what it is about, since joining
	// costs.
	Linger time.Duration `key:"linger" min:"0s" max:"1h"`
}

// RealtimeTyping says how typing is shared.
type RealtimeTyping struct {
	// in: browsers hear of clients of Realtime; out: those hear of browsers; both; off. What comes in
	// is believed: on a topic that is not private anybody with the public key can say that anybody
	// types.
	Share string `key:"share" enum:"off|in|out|both"`
	// Name of the channel, as supabase.channel(name); {conversation} or {tenant} stands for the id.
	Topic string `key:"topic"`
	// Name of the broadcast, whose payload has conversationId, userId, userName and isTyping, also in
	// snake_case. Coming in a missing isTyping means true.
	Event string `key:"event"`
	// Name of the broadcast that ends typing. Empty: it is event with isTyping false.
	StopEvent string `key:"stop_event"`
	// Whether the channel is private, so that policies of realtime.messages decide who may listen and
	// speak.
	Private bool `key:"private"`
}

// RealtimePresence says how it is shared who is online.
type RealtimePresence struct {
	// in, out, both or off, as for typing.
	Share string `key:"share" enum:"off|in|out|both"`
	// Name of the channel; {tenant} stands for the id and must be there, since who is online is a
	// tenant's own.
	Topic string `key:"topic"`
	// Whether the channel is private.
	Private bool `key:"private"`
	// How many users of one tenant are each a presence of their own, as supabase-js clients expect,
	// under their id as key and with userId, userName, status, online_at. It takes as many connections
	// to Realtime as the tenant with most users online has, up to this. Users beyond are one presence
	// together, which lists them under users.
	Seats int `key:"seats" min:"0" max:"100"`
}

// Sending says what becomes of messages that browsers send over their socket.
type Sending struct {
	// Write them to tables.messages, with the user's own token, so that Row Level Security decides.
	// Off answers that messages are written through Supabase.
	Enabled bool `key:"enabled"`
	// Column that the text is written to.
	Content string `key:"content"`
	// Column that the user's id is written to. Empty writes none.
	Sender string `key:"sender"`
	// Further columns that browsers may set, under their names or those in camelCase, such as
	// attachments, reply_to_message_id.
	Fields []string `key:"fields"`
	// Columns that are always written, as column=text or column:=json, such as "status=SENT",
	// "is_from_customer:=false".
	Set []string `key:"set"`
}
