package config

import "time"

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
	// Column with the primary key. It must be unique by itself; where the database says that it is
	// not, the bridge refuses to run.
	ID string `key:"id"`
	// Column with the conversation's id.
	Conversation string `key:"conversation"`
	// Column with the delivery status. A change of it is sent as a status update after the update of
	// the row. Empty if there is none.
	Status string `key:"status"`
	// Column with the time of creation, the time of a status update where updated gives none. Empty if
	// there is none.
	Created string `key:"created"`
	// Column with the time of the last change, the time of a status update. Empty if there is none;
	// then it is that of the commit.
	Updated string `key:"updated"`
	// Column with the tenant's id, if the table has its own. It saves the question which tenant a
	// conversation is of.
	Tenant string `key:"tenant"`
	// Column with the id of the user who wrote the message, as the sub of their token. A new message
	// ends that user's typing. A table without it, or an empty name, leaves that to typing.timeout.
	Sender string `key:"sender"`
}

// ConversationsTable names the table of conversations and its columns.
type ConversationsTable struct {
	// Name of the table.
	Name string `key:"name"`
	// Column with the primary key. It must be unique by itself; where the database says that it is
	// not, the bridge refuses to run.
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

// NotificationsTable names the table of notifications and its columns. A row goes to the user it
// names; where it names none to the conversation, else to the tenant.
type NotificationsTable struct {
	// Name of the table, such as notifications. It must be in the publication supabase_realtime.
	// Empty: there is none.
	Name string `key:"name"`
	// Column with the primary key. It must be unique by itself; where the database says that it is
	// not, the bridge refuses to run.
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
	// How many conversations the bridge remembers the tenant of. About 200 bytes each. One that is
	// forgotten costs a request at its next message, so it should hold those active within a day.
	TenantCacheSize int `key:"tenant_cache_size" min:"1" max:"100000000"`
	// How many messages the bridge remembers the conversation of, so that a delete, which carries the
	// key only, reaches its room. About 200 bytes each. The delete of one that is forgotten asks every
	// browser to resync, unless the table has replica identity full.
	MessageCacheSize int `key:"message_cache_size" min:"1" max:"100000000"`
}

// Room names one kind of room.
type Room struct {
	// Name of the room; {id} stands for the id, {conversation} and {tenant} for the nouns of the
	// vocabulary. Servers that publish to rooms must use the same.
	Name string `key:"name"`
	// Further room names that browsers send in place of an id, such as conv_{id}; the id is taken out
	// of them. They name no rooms here.
	Parse []string `key:"parse"`
	// Who may enter, asked in this order until one of them lets the user in; where none does nobody
	// enters. claim: the token names the room, in one of claims or, of a tenant, in one of
	// auth.tenant_claims. rls: Row Level Security shows the user the row of the conversation or of the
	// tenant. tenant, of conversations only: the user may enter the room of the conversation's tenant.
	// membership: a row of the membership table joins the user with the room. callback: the
	// application says so, at rooms.authorization.callback.
	Rules []string `key:"rules" enum:"claim|rls|tenant|membership|callback"`
	// Paths of claims for the rule claim, such as app_metadata.teams: the id of the room, or a list of
	// such ids. As in auth.tenant_claims none that users write.
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

// Authorization bounds how long an answer who may enter a room is kept, and how it is asked of the
// application.
type Authorization struct {
	// How long a user who was let in may enter the same room again without another question; never
	// longer than the token lives, or than a fifth of recheck_every. Shorter costs requests. 0s
	// asks every time.
	AllowedFor time.Duration `key:"allowed_for" min:"0s" max:"24h"`
	// How long a refusal is kept. It spares the database a client that tries again and again; a right
	// just given waits this long. 0s asks every time.
	RefusedFor time.Duration `key:"refused_for" min:"0s" max:"24h"`
	// How many answers of each kind, yes and no, are kept, those unused for longest being dropped
	// first. About 300 bytes each.
	CacheSize int `key:"cache_size" min:"1" max:"10000000"`
	// How long a right that was withdrawn may go unnoticed. Everybody who is in a room, or present
	// in a tenant, is asked about again within three quarters of it, one question for all rooms of
	// a token, spread evenly; one who may not be there any more is out of the room. A conversation
	// that goes to another tenant and a browser that sends another token are looked at at once. 0s
	// never asks again.
	RecheckEvery time.Duration `key:"recheck_every" min:"0s" max:"24h"`
	// Most questions a second for that. Rounds, other tokens and conversations that moved take
	// turns at it, and the other tokens of one user have at most a tenth of it. Where there are
	// more to ask within recheck_every it takes longer.
	RecheckRate int `key:"recheck_rate" min:"1" max:"100000"`
	// The application's own say, for the rule callback.
	Callback Callback `key:"callback"`
}

// Callback asks the application who may enter a room.
type Callback struct {
	// Address that is posted {user: {id, name, role, tenant}, room: {kind, id}}, kind being
	// conversation or tenant. It lets the user in by 200 and {allow: true}; id beside it is the room's
	// id where the row spells it another way. Any other 200, and 403 and 404, are a no; anything else
	// is no answer.
	URL string `key:"url"`
	// Secret the question is signed with, as X-Bridge-Signature: t=<seconds>,v1=<hex HMAC-SHA256 of
	// "t.body">. Required with url.
	Secret Secret `key:"secret"`
	// How long an answer may take. The join waits for it.
	Timeout time.Duration `key:"timeout" min:"10ms" max:"1m"`
	// Most questions under way at once; further ones wait, within the same time.
	Concurrency int `key:"concurrency" min:"1" max:"10000"`
}
