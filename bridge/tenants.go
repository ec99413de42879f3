package bridge

import (
	"context"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/config"
)

// tenants knows which tenant a conversation belongs to: messages don't carry it. It learns from the
// changes of the conversations table. Of conversations it has not heard of, Supabase is asked in
// batches (tenants_ask.go). A conversation that does not exist, or has no tenant, is remembered for
// missFor, and a question that failed for failFor.
//
// It is safe for concurrent use. Changes look things up with recall and lookup, which never wait;
// what shares typing over Realtime waits in of.
type tenants struct {
	table config.ConversationsTable
	rows  valueReader
	known *lru.Cache[string, tenantEntry]
}

const (
	missFor = 5 * time.Second // how long a conversation without a tenant is not asked for again
	failFor = 5 * time.Second // how long after a question failed
)

// valueReader is the one question tenants asks of Supabase: a column of the rows with these ids.
type valueReader interface {
	Values(ctx context.Context, table, column, key string, ids []string) ([]supabase.Pair, error)
}

type tenantEntry struct {
	tenant string
	until  time.Time // zero: for as long as the cache holds it
	asked  bool      // it is an answer: the feed may not have passed on yet what it says
}

func newTenants(cfg *config.Config, rows valueReader) (*tenants, error) {
	known, err := lru.New[string, tenantEntry](cfg.Rooms.TenantCacheSize)
	if err != nil {
		return nil, fmt.Errorf("bridge: rooms.tenant_cache_size: %w", err)
	}
	return &tenants{table: cfg.Tables.Conversations, rows: rows, known: known}, nil
}

// of gives the tenant of a conversation, "" where it has none. It asks where that is not known.
func (t *tenants) of(ctx context.Context, conversation string) (string, error) {
	if tenant, known := t.lookup(conversation); known {
		return tenant, nil
	}
	answer, err := t.rows.Values(ctx, t.table.Name, t.table.Tenant, t.table.ID, []string{conversation})
	if err != nil {
		return "", fmt.Errorf("tenant of a conversation: %w", err)
	}
	tenant := ""
	if len(answer) > 0 {
		tenant = answer[0].Value
	}
	t.answered(conversation, tenant)
	return tenant, nil
}

// lookup gives the tenant of a conversation, and reports whether there is nothing to ask: it is
// known, or it was asked for in vain a moment ago.
func (t *tenants) lookup(conversation string) (tenant string, known bool) {
	if conversation == "" {
		return "", true
	}
	got, ok := t.known.Get(conversation)
	return got.tenant, ok && (got.until.IsZero() || time.Now().Before(got.until))
}

// recall gives what is known of a conversation without asking.
func (t *tenants) recall(conversation string) string {
	got, _ := t.known.Peek(conversation)
	return got.tenant
}

// told gives what the feed has passed on of a conversation, "" where it has passed on nothing. What
// was asked for may be true of a change that is yet to come.
func (t *tenants) told(conversation string) string {
	got, _ := t.known.Peek(conversation)
	if got.asked {
		return ""
	}
	return got.tenant
}

// learn takes what the feed passes on.
func (t *tenants) learn(conversation, tenant string) {
	entry := tenantEntry{tenant: tenant}
	if tenant == "" {
		entry.until = time.Now().Add(missFor)
	}
	t.known.Add(conversation, entry)
}

// answered takes an answer, unless the feed has passed something on meanwhile.
func (t *tenants) answered(conversation, tenant string) {
	if _, known := t.lookup(conversation); known {
		return
	}
	t.learn(conversation, tenant)
	if got, ok := t.known.Peek(conversation); ok {
		got.asked = true
		t.known.Add(conversation, got)
	}
}

// failed remembers that a conversation was asked for in vain.
func (t *tenants) failed(conversation string) {
	if _, known := t.lookup(conversation); !known {
		t.known.Add(conversation, tenantEntry{tenant: t.recall(conversation), until: time.Now().Add(failFor), asked: true})
	}
}

func (t *tenants) forget(conversation string) { t.known.Remove(conversation) }
