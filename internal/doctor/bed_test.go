package doctor

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/internal/pgtest"
)

// everyTopic is a policy that lets an application's users use every private channel.
const everyTopic = `create policy everything on realtime.messages for all to authenticated using (true) with check (true);`

// onBed is a setting whose tables are in PostgreSQL, behind the bed's REST API; Realtime is the
// stand-in's.
func onBed(t *testing.T, bed *pgtest.Bed) *setting {
	t.Helper()
	s := healthy(t)
	api := bed.RESTHandler(pgtest.MaxRows)
	s.upstream = func(_ *standin.Server, next http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/rest/v1/", api)
		mux.Handle("/", next)
		return mux
	}
	return s
}

// migrate applies the migration of the bed's tables.
func migrate(t *testing.T, bed *pgtest.Bed) {
	t.Helper()
	var b bytes.Buffer
	if err := migration.Write(&b, migration.Options{Schema: "public", Tables: []migration.Table{
		{Name: "messages", Key: "id", Updated: "updated_at"}, {Name: "conversations", Key: "id", Updated: "updated_at"},
	}}); err != nil {
		t.Fatal(err)
	}
	bed.Owner(b.String())
}

// mend carries out what the report says mends it, but for what is no SQL: that is the migration.
func mend(t *testing.T, bed *pgtest.Bed, r *Report) {
	t.Helper()
	for _, f := range r.Findings {
		switch {
		case f.Level == OK || f.Check == "file_limit":
		case strings.HasPrefix(f.Fix, "supabridge sql"):
			migrate(t, bed)
		default:
			bed.Owner(f.Fix)
		}
	}
}

func TestALaneThatOthersMayUseIsFoundInPostgres(t *testing.T) {
	const policy = "supabridge_service_role_only on realtime.messages"
	for _, c := range []struct {
		name, lane string
		break_     func(*testing.T, *pgtest.Bed)
		want       []string
		text       string
	}{
		{"nothing is wrong", "on", func(*testing.T, *pgtest.Bed) {}, nil, "guarded"},
		{"the policy is dropped", "auto", func(_ *testing.T, bed *pgtest.Bed) { bed.Owner("drop policy " + policy) }, []string{"fail fast_lane"}, "is gone"},
		{"the policy lets everybody in", "on", func(_ *testing.T, bed *pgtest.Bed) {
			bed.Owner("alter policy " + policy + " using (true) with check (true)")
		},
			[]string{"fail fast_lane"}, "not as supabridge made it"},
		{"a trigger is disabled", "on", func(_ *testing.T, bed *pgtest.Bed) {
			bed.Owner("alter table messages enable replica trigger supabridge_broadcast")
		},
			[]string{"fail fast_lane messages"}, "disabled"},
		{"a trigger is gone", "auto", func(_ *testing.T, bed *pgtest.Bed) { bed.Owner("drop trigger supabridge_broadcast on conversations") },
			[]string{"warn fast_lane conversations"}, "missing"},
		{"the triggers are of an older version", "auto", func(_ *testing.T, bed *pgtest.Bed) { bed.Owner("drop function supabridge_lane(text, text[])") },
			[]string{"fail fast_lane"}, "older version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bed := pgtest.Start(t)
			bed.Owner(inbox + everyTopic)
			migrate(t, bed)
			c.break_(t, bed)
			examine := func(database string) *Report {
				s := onBed(t, bed)
				s.cfg.Supabase.FastLane, s.opts.Database = c.lane, database
				return s.examine(t)
			}
			for _, database := range []string{"", bed.Address()} {
				r := examine(database)
				var text bytes.Buffer
				if err := r.WriteText(&text); err != nil {
					t.Fatal(err)
				}
				if got := found(r); !slices.Equal(got, c.want) || !strings.Contains(text.String(), c.text) {
					t.Errorf("by %q found %q, want %q with %q:\n%s", database, got, c.want, c.text, &text)
				}
				if topic := bed.SQL("select topic from supabridge.lane"); strings.Contains(text.String(), topic) {
					t.Errorf("the report names the channel:\n%s", &text)
				}
			}
			mend(t, bed, examine(""))
			if got := found(examine("")); len(got) > 0 {
				t.Errorf("found %q after it was mended", got)
			}
		})
	}
}

func TestRowsWhoseTimesMisleadAreFoundInPostgres(t *testing.T) {
	bed := pgtest.Start(t)
	bed.Owner(inbox + `insert into conversations (id, created_at, updated_at) values ('c0000000-0000-4000-8000-000000000001', now() - interval '1 h', now() - interval '1 h');
		insert into messages (id, created_at, updated_at) values
			('e0000000-0000-4000-8000-000000000001', now() - interval '1 h', now() - interval '1 h'),
			('e0000000-0000-4000-8000-000000000002', now() + interval '2 min', now()),
			('e0000000-0000-4000-8000-000000000003', now(), '2099-01-02 03:04:05+00'),
			('e0000000-0000-4000-8000-000000000004', now(), null);`)
	migrate(t, bed)
	r := onBed(t, bed).examine(t)
	want := []string{"warn ahead messages", "warn ahead messages", "warn undated messages"}
	if got := found(r); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"created_at is ahead", "e0000000-0000-4000-8000-000000000002", "updated_at is ahead", "2099-01-02T03:04:05+00:00", "e0000000-0000-4000-8000-000000000003",
		"e0000000-0000-4000-8000-000000000004", "update public.messages set updated_at = now() where updated_at > now();"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("the report lacks %q:\n%s", part, &text)
		}
	}
	mend(t, bed, r)
	if got := found(onBed(t, bed).examine(t)); len(got) > 0 {
		t.Errorf("found %q after it was mended", got)
	}
}
