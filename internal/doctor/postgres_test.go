package doctor

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/internal/pgtest"
)

// inbox is what of the seed's tables the catalog is asked about, with everything as it should be.
const inbox = `
	create function touch() returns trigger language plpgsql as $$ begin new.updated_at = now(); return new; end $$;
	create table distributors (id uuid primary key);
	create table conversations (id uuid primary key, distributor_id uuid, created_at timestamptz, updated_at timestamptz);
	create table messages (id uuid primary key, conversation_id uuid, status text, created_at timestamptz, updated_at timestamptz);
	alter table distributors enable row level security;
	alter table conversations enable row level security;
	alter table messages enable row level security;
	alter table conversations replica identity full;
	alter table messages replica identity full;
	create index conversations_cursor on conversations (updated_at, id);
	create index messages_cursor on messages (updated_at, id);
	create trigger touch before update on conversations for each row execute function touch();
	create trigger touch before update on messages for each row execute function touch();`

func TestADatabaseIsAskedItself(t *testing.T) {
	db := pgtest.Start(t)
	db.Owner(inbox)
	examine := func() *Report {
		t.Helper()
		s := healthy(t)
		s.project.Unmigrated = true
		s.opts.Database = db.Address()
		return s.examine(t)
	}
	if got := found(examine()); len(got) > 0 {
		t.Errorf("found %q where nothing is wrong", got)
	}
	db.Owner(`drop index messages_cursor; drop trigger touch on messages; alter table messages replica identity default, disable row level security;
		alter table conversations alter column updated_at type timestamp; create index on conversations (updated_at) where id is not null; drop index conversations_cursor`)
	r := examine()
	want := []string{"fail rls messages", "hint replica_identity messages", "fail index messages", "warn updated messages", "warn cursor_type conversations", "fail index conversations"}
	if got := found(r); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	// What mends it does: every line of SQL is run as it stands, but for extensions of Supabase's.
	db.Owner(`create function extensions.moddatetime() returns trigger language plpgsql as $$ begin return new; end $$;`)
	for _, f := range r.Findings {
		for statement := range strings.SplitSeq(f.Fix, ";") {
			if f.Level == OK || f.Check == "file_limit" || strings.Contains(statement, "create extension") {
				continue
			}
			db.Owner(statement + ";")
		}
	}
	if got := found(examine()); len(got) > 0 {
		t.Errorf("found %q after it was mended", got)
	}
}

func TestThePasswordOfADatabaseIsNotToldInErrors(t *testing.T) {
	for _, address := range []string{"postgres://postgres:hush%zz@127.0.0.1/postgres", "postgres://postgres:hush@" + closedPort(t) + "/postgres"} {
		s := healthy(t)
		s.opts.Database = address
		var text bytes.Buffer
		if err := s.examine(t).WriteText(&text); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), "database") || strings.Contains(text.String(), "hush") {
			t.Errorf("the report is\n%s", &text)
		}
	}
}
