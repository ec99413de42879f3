package standin

import (
	"strings"
	"testing"
	"time"
)

func TestSeedMistakesAreNamedWithTheirLine(t *testing.T) {
	for _, c := range []struct{ name, seed, want string }{
		{"unknown key at the top", "tabels: {}", `line 1: unknown key "tabels"`},
		{"unknown key of a table", "tables:\n  t:\n    colums: {a: text}", `table t: line 3: unknown key "colums"`},
		{"unknown key of a column", "tables:\n  t:\n    columns:\n      a: {type: text, nullable: true}", `line 4: unknown key "nullable"`},
		{"key twice", "tables:\n  t:\n    columns: {a: text}\n  t:\n    columns: {a: text}", `"t"`},
		{"unknown type", "tables:\n  t:\n    columns:\n      a: texxt", `line 4: unknown type "texxt"`},
		{"modifier of another type", "tables:\n  t: {columns: {a: uuid(3)}}", `type "uuid(3)" takes no such modifier`},
		{"column without type", "tables:\n  t:\n    columns:\n      a: {not_null: true}", "line 4: column a has no type"},
		{"no columns", "tables:\n  t: {}", "line 2: table t: it has no columns"},
		{"key of a missing column", "tables:\n  t: {columns: {a: text}, primary_key: [b]}", `there is no column "b"`},
		{"bad default", "tables:\n  t: {columns: {a: {type: int4, default: x}}}", "column a: 22P02"},
		{"on_update of a text", "tables:\n  t: {columns: {a: {type: text, on_update: now()}}}", "on_update is for times"},
		{"identity of a text", "tables:\n  t: {columns: {a: {type: text, identity: true}}}", "an identity column is an integer"},
		{"foreign key to a missing table", "tables:\n  t:\n    columns: {a: text}\n    foreign_keys:\n      - {columns: [a], references: u}", `line 5: table t: there is no table "u"`},
		{"foreign key to no key", "tables:\n  t: {columns: {a: text}, foreign_keys: [{columns: [a], references: t, to: [a]}]}", "no unique key"},
		{"foreign key of another type", "tables:\n  t: {columns: {a: text, b: int4}, primary_key: [b], foreign_keys: [{columns: [a], references: t}]}", "differ in type"},
		{"rule without claim", "tables:\n  t:\n    columns: {a: text}\n    row_security:\n      - {column: a}", "line 5: a rule needs a column and a claim"},
		{"rule of an unknown role", "tables:\n  t: {columns: {a: text}, row_security: [{everything: true, to: [root]}]}", `unknown role "root"`},
		{"rule through no key", "tables:\n  t: {columns: {a: text}, row_security: [{through: [a], column: a, claim: sub}]}", "through: t.a is no foreign key"},
		{"rule on a missing column", "tables:\n  t: {columns: {a: text}, row_security: [{column: z, claim: sub}]}", "the column t.z, which there isn't"},
		{"row of a missing column", "tables:\n  t:\n    columns: {a: text}\n    rows:\n      - {b: 1}", `line 5: table t: there is no column "b"`},
		{"row of a wrong type", "tables:\n  t:\n    columns: {a: int4}\n    rows:\n      - {a: x}", `line 5: table t: 22P02: invalid input syntax for type integer: "x"`},
		{"row without its parent", "tables:\n  t:\n    columns: {a: int4, b: int4}\n    primary_key: [a]\n    foreign_keys: [{columns: [b], references: t}]\n    rows:\n      - {a: 1, b: 2}", "line 7: table t: 23503"},
		{"time that is none", "tables:\n  t: {columns: {a: timestamptz}, rows: [{a: now() - soon}]}", `"now() - soon" is no time`},
		{"grant to an unknown role", "tables:\n  t: {columns: {a: text}, grants: {root: [a]}}", "grants: there is no role root"},
		{"grant of a missing column", "tables:\n  t: {columns: {a: text}, grants: {anon: [b]}}", `grants: there is no column "b"`},
		{"user without id", "auth:\n  users:\n    - {email: a@b.example}", "line 3: a user needs an id"},
		{"list in place of mapping", "tables: []", "line 1: expected a mapping"},
		{"no YAML", "tables: {", "yaml"},
	} {
		seed, err := ParseSeed(strings.NewReader(c.seed))
		if err == nil {
			_, err = seed.NewDB(Limits{}, time.Now)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestDefaultSeedIsTheInbox(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeServer(t, s)
	tenants := map[string]string{}
	for _, u := range s.Users() {
		tenants[u.Tenant] = u.TenantName
		if _, err := s.UserToken(u.ID); err != nil {
			t.Errorf("token of %s: %v", u.Name, err)
		}
	}
	if len(tenants) != 2 || tenants["d1000000-0000-4000-8000-000000000001"] != "Harbour Foods" {
		t.Errorf("the users belong to %v, want two distributors with their names", tenants)
	}
	messages, ok := s.DB().Table("public", "messages")
	if !ok || !messages.RLS || !messages.Published {
		t.Errorf("messages: %+v, %v", messages, ok)
	}
	for _, c := range messages.Columns {
		if strings.Contains(c.Name, "distributor") || strings.Contains(c.Name, "tenant") {
			t.Errorf("messages has the tenant column %s", c.Name)
		}
	}
}

func TestSeedRowsTakeTimesRelativeToNow(t *testing.T) {
	s, err := ParseSeed(strings.NewReader("tables:\n  t: {columns: {a: timestamptz, b: date}, rows: [{a: now() - 1h30m, b: now() - 24h}]}"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	db, err := s.NewDB(Limits{}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	err = db.Tx(func(tx *Tx) error {
		rows, err := tx.Select("t", nil)
		if err == nil && (string(rows[0]["a"]) != `"2026-11-23T10:30:00+00:00"` || string(rows[0]["b"]) != `"2026-11-22"`) {
			t.Errorf("the row is %s", rows[0])
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func FuzzSeed(f *testing.F) {
	f.Add(string(inboxSeed))
	f.Add("tables:\n  t: {columns: {a: {type: int4, identity: true}}, primary_key: [a], rows: [{}]}")
	f.Add("schemas: [public, other]\nenums: {e: [x]}\ntables: {other.t: {columns: {a: e, b: 'numeric(4,2)'}, unique: [[a, b]]}}")
	f.Fuzz(func(t *testing.T, text string) {
		seed, err := ParseSeed(strings.NewReader(text))
		if err != nil {
			return
		}
		_, _ = seed.NewDB(Limits{MaxBytes: 1 << 20}, time.Now) // it must not panic; most seeds are wrong
	})
}
