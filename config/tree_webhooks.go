package config

import "time"

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
	// Auth tokens of the accounts whose webhooks are taken, with commas between: two while a token is
	// rotated, and those of sub-accounts. Empty takes none, and no path exists.
	AuthTokens Secret `key:"auth_tokens"`
	// Paths that webhooks are posted to.
	Paths []string `key:"paths"`
	// Addresses Twilio was given, as https://hooks.example.com, with the path where a proxy takes part
	// of it off. The signature is over the address, so it must be known; empty takes it from each
	// request, which fits only where nothing in front changes scheme or host.
	PublicURLs []string `key:"public_urls"`
	// Networks of proxies whose X-Forwarded-Proto and X-Forwarded-Host are believed, as 10.0.0.0/8.
	// Needed only where public_urls is empty.
	TrustedProxies []string `key:"trusted_proxies"`
	// What is done with a webhook. forward: posted to forward_url as it came. store: written to the
	// tables. emit: sent to browsers at once, before it is stored. Several may be combined; emit is
	// for an application that stores by itself, and adds nothing to store: the row is with the
	// browsers once it is written.
	Modes []string `key:"modes" enum:"forward|store|emit"`
	// The application's own route, which gets what Twilio sent, body and headers, signed anew for this
	// address. Required for forward.
	ForwardURL string `key:"forward_url"`
	// Largest body taken. Twilio's are of a few KiB.
	MaxBody Size `key:"max_body" min:"1KiB" max:"3MiB"`
	// How events become rows.
	Store TwilioStore `key:"store"`
}

// TwilioStore maps Twilio's parameters to columns.
type TwilioStore struct {
	// Column of tables.messages with Twilio's MessageSid. It needs a unique constraint: that is what
	// makes a message be stored once.
	SidColumn string `key:"sid_column"`
	// Columns of a message: "column=text", "column?=text" to leave the column out where the text is
	// empty, "column:=json". {Name} stands for the parameter of that name or the result of a lookup;
	// {conversation}, {status}, {from_customer}, {media}, {params}, {FromNumber}, {ToNumber},
	// {Channel} and {MessageUUID} are made by the bridge. Messages of Twilio Conversations need
	// {Author} or {ParticipantSid} and {from_customer} or {Source} here, and {ConversationSid} in
	// conversation_find; else they are dead letters.
	Columns []string `key:"columns"`
	// The application's words for Twilio's statuses, as "delivered=DELIVERED". A status without a word
	// leaves the column alone. A status is written only where it is later in the order of sent,
	// delivered and read, or the end of one not delivered yet. received is the status of a message
	// that comes in, for {status}.
	Statuses []string `key:"statuses"`
	// Columns written when a message failed, in the form of columns, such as
	// "error_code?={ErrorCode}". Empty writes none.
	FailureColumns []string `key:"failure_columns"`
	// Values found in other tables, in order, as "distributor = distributors.id where
	// phone={ToNumber}"; further conditions after " and ". {distributor} then stands for it.
	Lookups []string `key:"lookups"`
	// What a message's conversation is found by, in the form of columns.
	ConversationFind []string `key:"conversation_find"`
	// Columns of a new conversation beside those it is found by. Empty makes none: the message then
	// waits, and is a dead letter in the end.
	ConversationCreate []string `key:"conversation_create"`
	// Function of the database that finds or makes the conversation in one call and answers with its
	// id; conversation_create are its arguments then. Empty asks the tables.
	ConversationFunction string `key:"conversation_function"`
}

// DatabaseWebhook takes Supabase's webhooks of row changes.
type DatabaseWebhook struct {
	// Secret that a webhook brings as "Authorization: Bearer". Empty takes none, and the path does not
	// exist.
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
	// Secret they are signed with, as X-Bridge-Signature: t=<seconds>,v1=<hex HMAC-SHA256 of
	// "t.body">. Required with url.
	Secret Secret `key:"secret"`
	// What is told. Rooms come and go with every browser: with many that is many webhooks. In a
	// cluster it is told of all nodes as of one, and each knows the rooms of all.
	Events []string `key:"events" enum:"user_online|user_offline|room_occupied|room_vacated|messages_read"`
}

// Outbox bounds the file.
type Outbox struct {
	// File, which is made if it is not there; its directory must be. Required for Twilio's webhooks
	// that are forwarded or stored, and for outgoing ones. On a disk that keeps what it has synced.
	Path string `key:"path"`
	// Most that may wait in it, dead letters included; those take at most half. Beyond that webhooks
	// are answered 503. The file itself may grow to somewhat more than twice this.
	MaxSize Size `key:"max_size" min:"1MiB" max:"1024GiB"`
	// How long a delivery is tried before it is put aside for people to look at: supabridge outbox.
	// What PostgreSQL or the application refuses for good is put aside at once.
	MaxAge time.Duration `key:"max_age" min:"1m" max:"8760h"`
	// How long what was put aside is kept.
	KeepDead time.Duration `key:"keep_dead" min:"1h" max:"87600h"`
	// How long a webhook is remembered, so that its repetitions are not taken again. At most a million
	// are.
	DedupeFor time.Duration `key:"dedupe_for" min:"10m" max:"168h"`
	// Deliveries under way at once, to each target. More drain a backlog sooner and load the database.
	Workers int `key:"workers" min:"1" max:"1000"`
	// Longest wait between attempts.
	RetryMax time.Duration `key:"retry_max" min:"1s" max:"1h"`
}
