package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/pgtest"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// postgres is a project whose tables and policies are in PostgreSQL, and whose Realtime asks these.
// Realtime brings no postgres_changes: what the fast lane does not bring is read.
type postgres struct {
	bed    *pgtest.Bed
	tokens *standin.Tokens
}

// Connect implements phxserver.Backend, as the methods after it do.
func (p postgres) Connect(_ context.Context, h phxserver.Handshake) (phxserver.Claims, error) {
	return p.tokens.Verify(h.APIKey, time.Now())
}

func (p postgres) Verify(_ context.Context, token string) (phxserver.Claims, error) {
	return p.tokens.Verify(token, time.Now())
}

func (p postgres) Authorize(_ context.Context, c phxserver.Claims, topic string) (phxserver.Access, error) {
	read, write := p.bed.As(c.Role, c.Raw).MayUse(topic)
	return phxserver.Access{ReadBroadcast: read, WriteBroadcast: write}, nil
}

func (p postgres) Tables(_ context.Context, _ phxserver.Claims, schema, name string) ([]phxserver.Table, error) {
	return []phxserver.Table{{Schema: schema, Name: name, Columns: []phxserver.Column{{Name: "id", Type: "uuid"}}, Key: []string{"id"}}}, nil
}

func (p postgres) Watch(func([]phxserver.Change)) (cancel func()) { return func() {} }

func (p postgres) Visible(phxserver.Claims, string, string, map[string]json.RawMessage) bool {
	return false
}

// inboxSQL is what of the stand-in's seed a bridge follows.
const inboxSQL = `
	create table distributors (id uuid primary key);
	create table conversations (id uuid primary key, distributor_id uuid, status text, created_at timestamptz default now(), updated_at timestamptz default now());
	create table messages (id uuid primary key default gen_random_uuid(), conversation_id uuid, content text, status text,
		created_at timestamptz default now(), updated_at timestamptz default now());
	alter table distributors enable row level security;
	alter table conversations enable row level security;
	alter table messages enable row level security;
	create policy own on conversations for select to authenticated using (distributor_id::text = (select auth.jwt()) #>> '{app_metadata,distributor_id}');
	create policy own on messages for select to authenticated using (exists (select from conversations c where c.id = conversation_id));
	insert into distributors values ('` + harbour + `');
	insert into conversations (id, distributor_id) values ('` + bakery + `', '` + harbour + `');
	create policy everything on realtime.messages for all to authenticated using (true) with check (true);`

func TestPostgresDecidesWhetherTheFastLaneIsBelieved(t *testing.T) {
	t.Parallel()
	bed := pgtest.Start(t)
	bed.Owner(inboxSQL)
	apply := func() {
		t.Helper()
		var b bytes.Buffer
		if err := migration.Write(&b, migration.Options{Schema: "public", Tables: []migration.Table{
			{Name: "conversations", Key: "id", Updated: "updated_at"}, {Name: "messages", Key: "id", Updated: "updated_at"},
		}}); err != nil {
			t.Fatal(err)
		}
		bed.Owner(b.String())
	}
	apply()
	tokens, err := standin.NewTokens(pgtest.JWTSecret)
	if err != nil {
		t.Fatal(err)
	}
	realtime := phxserver.NewServer(postgres{bed, tokens}, phxserver.Options{})
	t.Cleanup(func() { _ = realtime.Close(context.Background()) }) // after the bridge has ended
	api := bed.RESTHandler(pgtest.MaxRows)
	w := unreadyOn(t, standin.Options{JWTSecret: pgtest.JWTSecret}, func(cfg *config.Config) {
		cfg.Supabase.Feed.Interval, cfg.Supabase.Feed.Stall, cfg.Supabase.FastLane = time.Second/2, time.Second/2, "on"
	})
	stood := w.gate.next // the stand-in, for keys and users
	mux := http.NewServeMux()
	mux.Handle("/rest/v1/", api)
	mux.Handle("/realtime/v1/websocket", realtime)
	mux.Handle("/realtime/v1/api/broadcast", realtime.BroadcastHandler())
	mux.Handle("/", stood)
	w.gate.next = mux
	w.run()
	w.verified(true)
	sent := 0
	write := func(content string) {
		t.Helper()
		bed.Owner(`insert into messages (conversation_id, content) values ('` + bakery + `', '` + content + `')`)
		for _, b := range bed.Broadcasts()[sent:] { // what Realtime reads from the log
			if _, err := realtime.Send(phxserver.DatabaseMessage{Topic: b.Topic, Event: b.Event, Private: b.Private, Payload: b.Payload}); err != nil {
				t.Fatal(err)
			}
			sent++
		}
	}
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	hears := func(content string) {
		t.Helper()
		write(content)
		if got := ana.event("new_message"); got["content"] != content {
			t.Errorf("new_message %v, want %q", got, content)
		}
	}
	secret := bed.SQL("select topic from supabridge.lane")
	fast := func() uint64 { return w.bridge.upstream.feed.Stats().Fast }

	f := w.forger(secret)
	if f.joined() {
		t.Fatal("another tenant's user is on the guarded channel")
	}
	f.forge(false)
	for patient := time.Now().Add(patience); fast() == 0; hears("by either way") { // until the channel is joined
		if time.Now().After(patient) {
			t.Fatalf("the lane brings nothing; log:\n%s", w.log)
		}
	}
	hears("by the lane")

	bed.Owner("drop policy supabridge_service_role_only on realtime.messages")
	guess := w.forger(migration.Topic) // which is all that is known of its name
	if !guess.joined() {
		t.Fatal("the application's policy does not let its users onto every channel")
	}
	guess.forge(true)
	hears("before the loss is noticed")
	if guess.heard() {
		t.Error("another tenant's user heard a row")
	}
	w.verified(false)
	before := fast()
	thief := w.forger(secret)
	if !thief.joined() {
		t.Fatal("the application's policy does not let its users onto every channel")
	}
	thief.forge(true)
	hears("after it is noticed")
	if fast() != before {
		t.Error("the bridge still hears the lane")
	}
	apply()
	w.verified(true)
	hears("once it is guarded again")
	ana.sync()
	if ana.heard("new_message") {
		t.Errorf("a browser heard more: %q", ana.held)
	}
	text := w.log.String()
	if n := strings.Count(text, "is not verified"); n != 1 || strings.Contains(text, secret) {
		t.Errorf("the loss was logged %d times, or with the channel's name:\n%s", n, text)
	}
}
