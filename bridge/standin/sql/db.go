package sql

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// Claims is what a verified token says about its bearer: row security reads it.
type Claims = phxserver.Claims

// Column is a column's name and its type as pg_type names it: int8, text, timestamptz, _int4.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Kinds of a Change.
const (
	Insert   = "INSERT"
	Update   = "UPDATE"
	Delete   = "DELETE"
	Truncate = "TRUNCATE"
)

// Change is what one row of a committed transaction became, or the truncation of a table. Changes
// are shared between listeners: they and what they point to are never written to after they are
// handed out.
type Change struct {
	// Type is Insert, Update, Delete or Truncate.
	Type   string
	Schema string
	Table  string
	// Commit is when the transaction committed; the same for all its changes, and never earlier than
	// the one before.
	Commit time.Time
	// Columns are the table's columns in order.
	Columns []Column
	// New is the whole row after the change, nil for Delete and Truncate. Values are JSON as to_jsonb
	// writes them: int8 and numeric with all digits, timestamps as ISO 8601, bytea as a string with
	// its \x, json and jsonb nested.
	New map[string]json.RawMessage
	// Old is the whole row before the change, nil for Insert and Truncate.
	Old map[string]json.RawMessage
	// Key names the primary key's columns; empty when the table has none.
	Key []string
	// FullIdentity is REPLICA IDENTITY FULL: readers of the log see the whole old row, else only its
	// key.
	FullIdentity bool
	// RLS: row security is enabled on the table.
	RLS bool
	// Published: the table is in the publication supabase_realtime.
	Published bool
}

// TableInfo describes a table.
type TableInfo struct {
	Schema       string
	Name         string
	Columns      []Column
	Key          []string
	FullIdentity bool
	RLS          bool
	Published    bool
}

// DB holds the tables. Transactions run one at a time and in one total order; readers run beside
// each other, between transactions. Safe for any number of goroutines.
type DB struct {
	limits  Limits
	now     func() time.Time
	schemas []string // exposed schemas, the first is the default; immutable

	// commit serialises transactions together with the calls to the listeners, so that these see
	// commit order. It is taken before mu. Holding it keeps no reader waiting.
	commit     sync.Mutex
	lastCommit time.Time // guarded by commit

	mu     sync.RWMutex         // guards every table's rows and indexes, and bytes
	tables map[tableName]*table // the map itself is immutable
	bytes  int64                // approximate size of all rows

	listenMu  sync.Mutex // guards the two below
	listeners []*listener
}

type listener struct{ fn func([]Change) }

// tableName is a table's name with its schema.
type tableName struct{ schema, name string }

// OnChange has fn called once for every committed transaction that changed something, with all its
// changes in the order they were made, and in commit order. fn runs on the goroutine that
// committed: it must not block and must not start a transaction on this DB; reading from it is
// fine. After cancel returns, fn may still be running for a commit that had begun, but isn't called
// again.
func (db *DB) OnChange(fn func([]Change)) (cancel func()) {
	l := &listener{fn: fn}
	db.listenMu.Lock()
	defer db.listenMu.Unlock()
	db.listeners = append(db.listeners, l)
	return func() {
		db.listenMu.Lock()
		defer db.listenMu.Unlock()
		kept := make([]*listener, 0, len(db.listeners))
		for _, k := range db.listeners {
			if k != l {
				kept = append(kept, k)
			}
		}
		db.listeners = kept
	}
}

// currentListeners are those registered now. The slice is never written to again.
func (db *DB) currentListeners() []*listener {
	db.listenMu.Lock()
	defer db.listenMu.Unlock()
	return db.listeners[:len(db.listeners):len(db.listeners)]
}

// Table describes a table; ok is false if there is none of that name.
func (db *DB) Table(schema, name string) (TableInfo, bool) {
	t, ok := db.tables[tableName{schema, name}]
	if !ok {
		return TableInfo{}, false
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	return t.info, true
}

// Tables describes all tables in the order of the seed.
func (db *DB) Tables() []TableInfo {
	infos := make([]TableInfo, len(db.tables))
	db.mu.RLock()
	defer db.mu.RUnlock()
	for _, t := range db.tables {
		infos[t.ordinal] = t.info
	}
	return infos
}

// SetPublished takes a table into the publication supabase_realtime or out of it, as
// ALTER PUBLICATION does, from the next transaction on; ok is false if there is no such
// table.
func (db *DB) SetPublished(schema, name string, published bool) (ok bool) {
	return db.change(schema, name, func(t *table) { t.info.Published = published })
}

// SetFullIdentity gives a table REPLICA IDENTITY FULL or DEFAULT, as ALTER TABLE does, from the
// next transaction on; ok is false if there is no such table.
func (db *DB) SetFullIdentity(schema, name string, full bool) (ok bool) {
	return db.change(schema, name, func(t *table) { t.info.FullIdentity = full })
}

// change changes what is said of a table, between two transactions; ok is false if there is no such
// table.
func (db *DB) change(schema, name string, change func(*table)) (ok bool) {
	t, ok := db.tables[tableName{schema, name}]
	if !ok {
		return false
	}
	db.commit.Lock()
	defer db.commit.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	change(t)
	return true
}

// Visible tells whether a role may read a row: always for service_role and for a table without row
// security, else when one of the table's rules for reading lets it. A rule through a parent table
// looks at the parent row as it is now. row needs the columns its rules and foreign keys name; a
// column missing from it counts as null. An unknown table or role sees nothing.
func (db *DB) Visible(c Claims, schema, table string, row map[string]json.RawMessage) bool {
	t, ok := db.tables[tableName{schema, table}]
	if !ok || !KnownRole(c.Role) {
		return false
	}
	if t.unrestricted(c.Role) {
		return true
	}
	p := t.policyFor(&c, ForSelect)
	db.mu.RLock()
	defer db.mu.RUnlock()
	return p.admits(func(column int) value {
		v, err := t.columns[column].typ.parseJSON(row[t.columns[column].name])
		if err != nil {
			return null
		}
		return v
	})
}

// Current finds a row as it is now by the key of one as it was before.
func (db *DB) Current(schema, table string, before map[string]json.RawMessage) (map[string]json.RawMessage, bool) {
	t, ok := db.tables[tableName{schema, table}]
	if !ok {
		return nil, false
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	primary := t.primary()
	if primary == nil {
		return nil, false
	}
	readable := true
	key, complete := primary.key(func(i int) value {
		c := t.columns[primary.columns[i]]
		v, err := c.typ.parseJSON(before[c.name])
		readable = readable && err == nil
		return v
	})
	found := primary.one[key]
	if !readable || !complete || found == nil {
		return nil, false
	}
	return t.document(found.vals), true
}
