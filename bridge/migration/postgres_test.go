package migration

import (
	"bytes"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/internal/pgtest"
)

// stub is what Supabase's realtime schema has that the migration needs.
const stub = `
create role anon; create role authenticated; create role service_role bypassrls;
create schema realtime;
create table realtime.messages (n bigserial, topic text, event text, payload jsonb, extension text default 'broadcast', private boolean default true);
create function realtime.topic() returns text language sql stable as $$ select nullif(current_setting('realtime.topic', true), '') $$;
create function realtime.broadcast_changes(topic_name text, event_name text, operation text, table_name text, table_schema text, new record, old record, level text default 'ROW')
  returns void language plpgsql as $$
begin
  if coalesce(new::text, old::text) like '%fail%' then raise exception 'too large'; end if;
  insert into realtime.messages (topic, event, payload) values (topic_name, event_name,
    jsonb_build_object('schema', table_schema, 'table', table_name, 'operation', operation, 'record', to_jsonb(new), 'old_record', to_jsonb(old)));
end $$;
grant usage on schema realtime to anon, authenticated, service_role;
grant select on realtime.messages to anon, authenticated, service_role;
create table messages (id int primary key, body text, updated_at timestamptz default now());
create table conversations (id int primary key, updated_at timestamptz default now());
grant insert, update, delete, select on messages, conversations to authenticated;
create policy everything on realtime.messages for select to authenticated using (true);
`

// server is a PostgreSQL of this test's own.
type server struct {
	*pgtest.Server
	t *testing.T
}

func newServer(t *testing.T) *server {
	t.Helper()
	return &server{pgtest.New(t), t}
}

func (s *server) sql(text string) string {
	s.t.Helper()
	return s.SQL(text)
}

func (s *server) apply(o Options, write func(*bytes.Buffer, Options) error) {
	s.t.Helper()
	var b bytes.Buffer
	if err := write(&b, o); err != nil {
		s.t.Fatal(err)
	}
	s.sql(b.String())
}

func forth(b *bytes.Buffer, o Options) error { return Write(b, o) }
func back(b *bytes.Buffer, o Options) error  { return WriteUndo(b, o) }

func TestPostgresBroadcastsEachRowOfTheMigratedTables(t *testing.T) {
	s := newServer(t)
	s.sql(stub)
	s.apply(inbox, forth)
	s.apply(inbox, forth) // again
	s.sql(`set role authenticated; insert into messages values (1, 'a'); update messages set body = 'b'; delete from messages; insert into conversations values (7);`)
	got := s.sql(`select topic, event, payload->>'table', payload->'record'->>'body', payload->'old_record'->>'body' from realtime.messages order by n`)
	want := strings.Join([]string{Topic + "|INSERT|messages|a|", Topic + "|UPDATE|messages|b|a", Topic + "|DELETE|messages||b", Topic + "|INSERT|conversations||"}, "\n")
	if got != want {
		t.Errorf("broadcast:\n%s\nwant:\n%s", got, want)
	}
	s.sql(`insert into messages values (2, 'fail')`)
	if got := s.sql(`select count(*) from messages`); got != "1" {
		t.Errorf("a broadcast that failed took the row with it")
	}
	for role, want := range map[string]string{"service_role": "4", "authenticated": "0"} {
		if got := s.sql(`set realtime.topic = '` + Topic + `'; set role ` + role + `; select count(*) from realtime.messages`); got != want {
			t.Errorf("%s reads %s messages of the topic, want %s", role, got, want)
		}
	}
	if got := s.sql(`set realtime.topic = 'other'; set role authenticated; select count(*) > 0 from realtime.messages`); got != "t" {
		t.Error("the policy takes other topics away too")
	}
	s.apply(inbox, back)
	s.apply(inbox, back)
	left := s.sql(`select (select count(*) from pg_trigger where not tgisinternal) + (select count(*) from pg_namespace where nspname = 'supabridge')
		+ (select count(*) from pg_policy where polname like 'supabridge%') + (select count(*) from pg_indexes where indexname like 'supabridge%')`)
	if left != "0" {
		t.Errorf("%s things are left after undoing", left)
	}
}

func TestPostgresTakesNamesThatNeedQuotes(t *testing.T) {
	s := newServer(t)
	s.sql(stub + `create schema "My ""Schema"""; create table "My ""Schema"""."Order
; drop table x; --" ("i""d" int primary key, "when" timestamptz); create table "My ""Schema""".bare (id int primary key);`)
	s.apply(awkward, forth)
	s.sql(`insert into "My ""Schema""".bare values (1)`)
	if got := s.sql(`select payload->>'schema' from realtime.messages`); got != `My "Schema"` {
		t.Errorf("schema %q", got)
	}
	s.apply(awkward, back)
}
