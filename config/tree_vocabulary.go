package config

// Vocabulary chooses the names and forms the frontend expects.
type Vocabulary struct {
	// Style of the events sent to a browser that has shown none: underscore new_message, colon
	// message:new, kebab new-message, camel newMessage, whaticket appMessage with an action within,
	// none only what vocabulary.out says.
	Preset string `key:"preset" enum:"underscore|colon|kebab|camel|whaticket|none"`
	// auto: the style of the first event a browser sends that has one is the style it hears from then
	// on, since nearly all frontends keep to one. fixed: every browser hears vocabulary.preset. Each
	// style in use has an event encoded once more.
	Dialect string `key:"dialect" enum:"auto|fixed"`
	// Styles understood from browsers: all, or some by name; tutorial are the names with spaces, as
	// join chat. Names that every style has, and those of vocabulary.in, always are.
	Accept []string `key:"accept" enum:"all|underscore|colon|kebab|camel|whaticket|tutorial"`
	// Form of a message's payload: row as in the table, camel or snake with keys in that case, wrapped
	// as {message: …}, superset all of these at once. superset fits most frontends unchanged and costs
	// about three times the bytes of row. A value of more than 16KiB stands in an event once in any
	// case, under its column's name; see max_row for how an event says so.
	Shape string `key:"shape" enum:"row|camel|snake|superset|wrapped"`
	// Largest row that is sent whole. A larger one goes without its largest columns. Where an event,
	// or the message within it, lacks columns for their size, it has a field _truncated with their
	// names as they would be spelled there, such as ["content"]; the frontend reads the row itself
	// where it needs them. More needs more of socketio.max_queue.
	MaxRow Size `key:"max_row" min:"4KiB" max:"64MiB"`
	// What the frontend calls a conversation in event names and payload keys, such as ticket or chat:
	// join_<noun>, <noun>Id.
	ConversationNoun string `key:"conversation_noun"`
	// What the frontend calls a tenant, such as organization or workspace: join_<noun>, <noun>Id.
	TenantNoun string `key:"tenant_noun"`
	// Name of the event that tells every browser, on connecting and on each change, how the feed
	// stands: {state: live, catching_up, polling or down, since, lag_ms}. Empty sends none.
	StatusEvent string `key:"status_event"`
	// Name of the event that asks a browser to read its rooms anew, since deletes may have been
	// missed: {since, reason}. Empty sends none.
	ResyncEvent string `key:"resync_event"`
	// Where ids stand in what a browser sends.
	IDs VocabularyIDs `key:"ids"`
	// Further events that are understood, by intent: join, leave, join_tenant, leave_tenant,
	// join_own_tenant, typing_start, typing_stop, typing, list_online, list_presence, set_status,
	// mark_read, renew_token, heartbeat, send_message. Each takes events (names, in which {tenant},
	// {Tenant}, {conversation} stand for the nouns), id (selectors, as in vocabulary.ids), for typing
	// and set_status state (selectors of the boolean or the word), for send_message text (selectors of
	// it), and ack (a template of the answer).
	In InRules `key:"in"`
	// Rules that stand in place of what the presets send, by event: message.created, message.updated,
	// message.deleted, message.status, conversation.created, conversation.updated,
	// conversation.deleted, typing.start, typing.stop, user.online, user.offline, presence,
	// presence.list, presence.snapshot, notification, notification.updated, read, joined, left,
	// token.expiring, error. A rule takes event (the name), to (conversation, tenant, user, socket,
	// all), except (sender or nobody), when (values of columns), shape, pick, omit, rename, add, map
	// (values by path of a field), and payload or args. An empty list sends nothing. Texts hold
	// variables: ${row.id}, ${conversation.id}, ${tenant.id}, ${user.id}, ${user.name}, ${payload},
	// ${payload.field}.
	Out OutRules `key:"out"`
}

// VocabularyIDs says where ids stand.
type VocabularyIDs struct {
	// Selectors of the conversation's id, the first hit counting: $0 an argument, $0.room.id a field
	// of it, auth.x, claims.x, query.x, header.x, cookie.x. Empty looks where frontends are known to
	// have it: in the first argument itself, or in its fields conversationId, roomId and the like,
	// however they are spelled (conversationID, convo_id): the noun above counts first, a plain id
	// last.
	Conversation []string `key:"conversation"`
	// Selectors of the tenant's id likewise. Where none hits it is the tenant that the token names.
	Tenant []string `key:"tenant"`
}
