package migration

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/internal/pgtest"
)

func TestPostgresTellsTheServiceRoleWhatItsTablesAre(t *testing.T) {
	t.Parallel()
	bed := pgtest.Start(t)
	bed.Owner(tables + `
		alter publication supabase_realtime add table messages;
		alter table messages replica identity full, enable row level security;
		create table plain (a int, "B c" text);
		create unique index on plain (a, "B c");
		create index on plain (lower("B c"), a);
		create unique index on plain (a) include ("B c");
		create index on plain (a) where a > 1;
		create function touch() returns trigger language plpgsql as $$ begin return new; end $$;
		create trigger touch before insert or update on plain for each row execute function touch();`)
	one := Options{Schema: "public", Tables: []Table{{Name: "messages", Key: "id", Updated: "updated_at"}}}
	bed.Owner(sql(t, Write, one))
	var got Facts
	answer, err := bed.As("service_role", nil).Query(`select public.supabridge_facts('public', '{messages,plain,nothing}')`)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	want := Facts{Tables: map[string]TableFacts{
		"messages": {
			Published: true, Identity: "f", RLS: true, Broadcasts: true,
			Columns: map[string]string{"id": "integer", "body": "text", "updated_at": "timestamp with time zone"},
			Indexes: []IndexFacts{{true, []string{"id"}}, {false, []string{"updated_at", "id"}}},
		},
		"plain": {
			Identity: "d", Kept: true, Columns: map[string]string{"a": "integer", "B c": "text"},
			Indexes: []IndexFacts{{true, []string{"a", "B c"}}, {false, []string{"", "a"}}, {true, []string{"a"}}},
		},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("facts %+v, want %+v", got, want)
	}
	if got := bed.SQL(`select has_function_privilege('authenticated', 'public.supabridge_facts(text, text[])', 'execute')`); got != "f" {
		t.Error("a signed-in user may ask too")
	}
	bed.Owner(sql(t, WriteUndo, one))
	if got := bed.SQL(`select count(*) from pg_proc where proname like 'supabridge%'`); got != "0" {
		t.Errorf("%s functions are left", got)
	}
	if strings.Contains(FactsQuery, ";") {
		t.Error("the query is more than a statement")
	}
}
