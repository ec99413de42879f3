package config

import "time"

// Default returns a new Config in which every key has its default. It names
// no project, so it isn't valid by itself: supabase.url and the keys are missing.
func Default() *Config {
	return &Config{
		Listen: ":3001",
		TLS:    TLS{ACME: ACME{Domains: []string{}}},
		Supabase: Supabase{
			Schema:            "public",
			VSN:               "2.0.0",
			HeartbeatInterval: 25 * time.Second,
			JoinTimeout:       15 * time.Second,
			Reconnect:         Reconnect{Min: time.Second, Max: 30 * time.Second},
			FastLane:          "auto",
			Feed:              Feed{Overlap: 30 * time.Second, Interval: time.Minute, Stall: 5 * time.Second, Window: 100_000},
			Polling:           Polling{After: 10 * time.Second, Min: time.Second, Max: 15 * time.Second},
			RequestTimeout:    10 * time.Second,
		},
		Tables: Tables{
			Messages: MessagesTable{
				Name:         "messages",
				ID:           "id",
				Conversation: "conversation_id",
				Status:       "status",
				Created:      "created_at",
				Updated:      "updated_at",
				Sender:       "sender_id",
			},
			Conversations: ConversationsTable{Name: "conversations", ID: "id", Tenant: "distributor_id", Created: "created_at", Updated: "updated_at"},
			Tenants:       TenantsTable{Name: "distributors", ID: "id"},
			Notifications: NotificationsTable{ID: "id", User: "user_id", Created: "created_at"},
		},
		Rooms: Rooms{
			Conversation: Room{Name: "conversation:{id}", Parse: []string{}},
			Tenant:       Room{Name: "tenant:{id}", Parse: []string{}},
			Authorization: Authorization{
				AllowedFor: 60 * time.Second,
				RefusedFor: 10 * time.Second,
				CacheSize:  10_000,
			},
			TenantCacheSize:  100_000,
			MessageCacheSize: 100_000,
		},
		Vocabulary: Vocabulary{
			Preset:           "underscore",
			Dialect:          "auto",
			Accept:           []string{"all"},
			Shape:            "superset",
			ConversationNoun: "conversation",
			TenantNoun:       "distributor",
			StatusEvent:      "bridge_status",
			ResyncEvent:      "resync",
			IDs:              VocabularyIDs{Conversation: []string{}, Tenant: []string{}},
			In:               InRules{},
			Out:              OutRules{},
		},
		SocketIO: SocketIO{
			Paths:          []string{"/socket.io"},
			Namespaces:     []string{"/"},
			Transports:     []string{"polling", "websocket"},
			PingInterval:   25 * time.Second,
			PingTimeout:    20 * time.Second,
			ConnectTimeout: 45 * time.Second,
			UpgradeTimeout: 10 * time.Second,
			MaxPayload:     1_000_000,
			MaxQueue:       1 << 20,
			Recovery:       Recovery{Window: 2 * time.Minute, Memory: 32 << 20},
			CORS:           CORS{Origins: []string{}},
		},
		Auth: Auth{
			Credentials:        []string{"auth.token", "header.authorization"},
			AuthenticateWithin: 10 * time.Second,
			Audience:           "authenticated",
			Issuers:            []string{},
			Leeway:             10 * time.Second,
			TenantClaims: []string{
				"app_metadata.distributor_id",
				"app_metadata.organization_id",
				"app_metadata.org_id",
				"app_metadata.tenant_id",
			},
			UserWrittenClaims: []string{},
			RefuseMessage:     "Authentication error",
			RefuseMessages:    []string{},
		},
		Presence: Presence{Enabled: true, Grace: 10 * time.Second, Remember: 10_000},
		Typing:   Typing{Enabled: true, Timeout: 5 * time.Second, Repeat: 2 * time.Second},
		Sending:  Sending{Content: "content", Fields: []string{}, Set: []string{}},
		Webhooks: Webhooks{
			Twilio: Twilio{
				Paths:          []string{"/webhooks/twilio"},
				PublicURLs:     []string{},
				TrustedProxies: []string{},
				Modes:          []string{"store"},
				MaxBody:        256 << 10,
				Store: TwilioStore{
					SidColumn:          "external_message_id",
					Columns:            []string{"conversation_id={conversation}", "content={Body}", "is_from_customer:=true", "status={status}", "attachments:={media}"},
					Statuses:           []string{"received=DELIVERED", "sent=SENT", "delivered=DELIVERED", "read=READ"},
					FailureColumns:     []string{},
					Lookups:            []string{},
					ConversationFind:   []string{"customer_phone={FromNumber}"},
					ConversationCreate: []string{},
				},
			},
			Supabase: DatabaseWebhook{Path: "/webhooks/supabase", MaxBody: 4 << 20},
			Outgoing: Outgoing{Events: []string{"user_online", "user_offline"}},
			Outbox:   Outbox{MaxSize: 256 << 20, MaxAge: 72 * time.Hour, KeepDead: 720 * time.Hour, DedupeFor: time.Hour, Workers: 16, RetryMax: time.Minute},
		},
		Publish: Publish{
			Path: "/api/publish", DisconnectPath: "/api/disconnect", Window: 5 * time.Minute, IdempotencyFor: 10 * time.Minute, MaxBody: 1 << 20, MaxBatch: 100,
		},
		Ops: Ops{ShutdownTimeout: 10 * time.Second},
		Log: Log{Level: "info", Format: "auto"},
	}
}
