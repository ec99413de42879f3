package access

import (
	"time"

	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/config"
)

// Settings are what the configuration says of who may enter rooms, compiled. They never change:
// Update puts others in their place.
type Settings struct {
	config.Authorization               // rooms.authorization
	InsecureDev          bool          // auth.insecure_dev: a socket without a token may enter anything
	FreshTimeout         time.Duration // of a question that AskFresh puts
	rules                [2]rules      // by kind of room
}

// rules are what opens the rooms of one kind.
type rules struct {
	order      []string // the rules' names, in the order in which they are asked
	claims     []string
	membership supabase.Member
	table, key string // whose rows the rule rls looks for
	tenant     string // column with a conversation's tenant, for the rule tenant
}

// Compile reads the settings from a valid configuration.
func Compile(cfg *config.Config) *Settings {
	of := func(room config.Room, table, key, tenant string) rules {
		return rules{room.Rules, room.Claims, supabase.Member(room.Membership), table, key, tenant}
	}
	c, t := cfg.Tables.Conversations, cfg.Tables.Tenants
	return &Settings{
		Authorization: cfg.Rooms.Authorization, InsecureDev: cfg.Auth.InsecureDev,
		FreshTimeout: cfg.Supabase.RequestTimeout,
		rules: [...]rules{
			ConversationRoom: of(cfg.Rooms.Conversation, c.Name, c.ID, c.Tenant),
			TenantRoom:       of(cfg.Rooms.Tenant, t.Name, t.ID, ""),
		},
	}
}

// longestMemory is how long a yes may be remembered at most where rights are rechecked. A yes that
// is reused begins a stay in a room, which the next round looks at. Together they keep within
// recheck_every.
func (s *Settings) longestMemory() time.Duration {
	if s.RecheckEvery > 0 {
		return min(s.AllowedFor, s.RecheckEvery/5)
	}
	return s.AllowedFor
}
