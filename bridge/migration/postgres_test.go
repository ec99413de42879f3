package migration

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/internal/pgtest"
)

// tables are the application's that the migration of inbox is for.
const tables = `
create table messages (id int primary key, body text, updated_at timestamptz default now());
create table conversations (id int primary key, updated_at timestamptz default now());
`

// everyTopic is a policy that lets an application's users hear and broadcast on every private channel.
const everyTopic = `create policy everything on realtime.messages for all to authenticated using (true) with check (true);`

// sql is what the migration, or what takes it back, prints.
func sql(t *testing.T, write func(io.Writer, Options) error, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// projects are the ways in which Supabase gives a project to its owner.
var projects = map[string]func(testing.TB) *pgtest.Bed{"now": pgtest.Start, "until 2026": pgtest.Start2025}

// broadcasts are what a database sent, in short.
func broadcasts(t *testing.T, bed *pgtest.Bed) string {
	t.Helper()
	var lines []string
	for _, b := range bed.Broadcasts() {
		var p struct {
			Table  string
			Record struct{ Body string }
			Old    struct{ Body string } `json:"old_record"`
		}
		if err := json.Unmarshal(b.Payload, &p); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Join([]string{b.Topic, b.Event, p.Table, p.Record.Body, p.Old.Body}, "|"))
	}
	return strings.Join(lines, "\n")
}

func TestPostgresBroadcastsEachRowOfTheMigratedTables(t *testing.T) {
	t.Parallel()
	for name, start := range projects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bed := start(t)
			bed.Owner(tables + everyTopic)
			bed.Owner(sql(t, Write, inbox))
			bed.Owner(sql(t, Write, inbox)) // again
			bed.Owner(`set role authenticated; insert into messages values (1, 'a'); update messages set body = 'b'; delete from messages;
				insert into conversations values (7);`)
			want := strings.Join([]string{Topic + "|INSERT|messages|a|", Topic + "|UPDATE|messages|b|a", Topic + "|DELETE|messages||b", Topic + "|INSERT|conversations||"}, "\n")
			if got := broadcasts(t, bed); got != want {
				t.Errorf("broadcast:\n%s\nwant:\n%s", got, want)
			}
			bed.SQL(`alter table realtime.messages add constraint small check (payload::text not like '%fail%')`)
			bed.Owner(`insert into messages values (2, 'fail')`)
			if got := bed.SQL(`select count(*) from messages`); got != "1" {
				t.Errorf("a broadcast that failed took the row with it")
			}
			for role, want := range map[string]bool{"service_role": true, "authenticated": false, "anon": false} {
				if read, write := bed.As(role, nil).MayUse(Topic); read != want || write != want {
					t.Errorf("%s may hear the lane: %t, and broadcast on it: %t; want %t", role, read, write, want)
				}
			}
			if read, write := bed.As("authenticated", nil).MayUse("other"); !read || !write {
				t.Error("the policy takes other topics away too")
			}
			bed.Owner(sql(t, WriteUndo, inbox))
			bed.Owner(sql(t, WriteUndo, inbox))
			left := bed.SQL(`select (select count(*) from pg_trigger where tgname like 'supabridge%') + (select count(*) from pg_namespace where nspname = 'supabridge')
				+ (select count(*) from pg_policy where polname like 'supabridge%') + (select count(*) from pg_indexes where indexname like 'supabridge%')
				+ (select count(*) from pg_proc where proname like 'supabridge%')`)
			if left != "0" {
				t.Errorf("%s things are left after undoing", left)
			}
		})
	}
}

func TestPostgresTakesNamesThatNeedQuotes(t *testing.T) {
	t.Parallel()
	bed := pgtest.Start(t)
	bed.Owner(`create schema "My ""Schema"""; create table "My ""Schema"""."Order
; drop table x; --" ("i""d" int primary key, "when" timestamptz); create table "My ""Schema""".bare (id int primary key);`)
	bed.Owner(sql(t, Write, awkward))
	bed.Owner(`insert into "My ""Schema""".bare values (1)`)
	if got := bed.SQL(`select payload->>'schema' from realtime.messages`); got != `My "Schema"` {
		t.Errorf("schema %q", got)
	}
	bed.Owner(sql(t, WriteUndo, awkward))
}
