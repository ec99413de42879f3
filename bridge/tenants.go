package bridge

import (
	"context"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/supabridge/supabridge/config"
)

// tenants knows which tenant a conversation belongs to: messages don't carry it. It learns from the changes of the conversations table and asks
// PostgREST once for a conversation it has not heard of. A conversation that does not exist, or has no tenant, is remembered for missFor only.
//
// The feed's goroutine uses it, and what shares typing over Realtime asks it.
type tenants struct {
	table config.ConversationsTable
	rows  valueReader
	known *lru.Cache[string, tenantEntry]
}

// missFor is how long a conversation without a tenant is not asked for again.
const missFor = 5 * time.Second

// valueReader is the one question tenants asks of Supabase.
type valueReader interface {
	Value(ctx context.Context, table, column, key, id string) (value string, found bool, err error)
}

type tenantEntry struct {
	tenant string
	until  time.Time // zero: for as long as the cache holds it
}

func newTenants(cfg *config.Config, rows valueReader) (*tenants, error) {
	known, err := lru.New[string, tenantEntry](cfg.Rooms.TenantCacheSize)
	if err != nil {
		return nil, fmt.Errorf("bridge: rooms.tenant_cache_size: %w", err)
	}
	return &tenants{table: cfg.Tables.Conversations, rows: rows, known: known}, nil
}

// of gives the tenant of a conversation, "" where it has none.
func (t *tenants) of(ctx context.Context, conversation string) (string, error) {
	if conversation == "" {
		return "", nil
	}
	if got, ok := t.known.Get(conversation); ok && (got.until.IsZero() || time.Now().Before(got.until)) {
		return got.tenant, nil
	}
	tenant, _, err := t.rows.Value(ctx, t.table.Name, t.table.Tenant, t.table.ID, conversation)
	if err != nil {
		return "", fmt.Errorf("tenant of a conversation: %w", err)
	}
	t.learn(conversation, tenant)
	return tenant, nil
}

// recall gives what is known of a conversation without asking.
func (t *tenants) recall(conversation string) string {
	got, _ := t.known.Peek(conversation)
	return got.tenant
}

func (t *tenants) learn(conversation, tenant string) {
	entry := tenantEntry{tenant: tenant}
	if tenant == "" {
		entry.until = time.Now().Add(missFor)
	}
	t.known.Add(conversation, entry)
}

func (t *tenants) forget(conversation string) { t.known.Remove(conversation) }
