package twilio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/supabase"
)

const bakery = "c1000000-0000-4000-8000-000000000001" // a conversation of the stand-in's seed, and its tenant
const harbour = "d1000000-0000-4000-8000-000000000001"

// database is a stand-in with functions, which it has not of its own. before is called ahead of
// each request.
type database struct {
	*standin.Server
	db *supabase.Client

	mu        sync.Mutex // guards what follows
	functions map[string]func(arguments map[string]any) (status int, answer string)
	before    func(*http.Request)
	called    []string
}

func openDatabase(t *testing.T) *database {
	t.Helper()
	s, err := standin.New(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := &database{Server: s, functions: make(map[string]func(map[string]any) (int, string))}
	server := httptest.NewServer(d)
	if d.db, err = supabase.New(server.URL, s.ServiceKey(), supabase.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.db.Close()
		server.Close()
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *database) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	before := d.before
	f := d.functions[strings.TrimPrefix(r.URL.Path, "/rest/v1/rpc/")]
	d.mu.Unlock()
	if before != nil {
		before(r)
	}
	if f == nil {
		d.Handler().ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	var arguments map[string]any
	if err != nil || json.Unmarshal(body, &arguments) != nil || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer "+d.ServiceKey() {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	d.called = append(d.called, string(body))
	d.mu.Unlock()
	status, answer := f(arguments)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

func (d *database) rows(t *testing.T, table string, where map[string]any) (rows []map[string]json.RawMessage) {
	t.Helper()
	if err := d.DB().Tx(func(tx *standin.Tx) (err error) {
		rows, err = tx.Select(table, where)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

func columns(t *testing.T, texts ...string) Columns {
	t.Helper()
	c, err := ParseColumns(texts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mapping is that of the defaults.
func mapping(t *testing.T) StoreOptions {
	return StoreOptions{
		Messages: "messages", Sid: "external_message_id", StatusColumn: "status", Conversations: "conversations", ConversationsKey: "id",
		Columns:  columns(t, "conversation_id={conversation}", "content={Body}", "is_from_customer:=true", "status={status}"),
		Statuses: map[string]string{"received": "DELIVERED", "sent": "SENT", "delivered": "DELIVERED", "read": "READ"},
		Find:     columns(t, "customer_phone={FromNumber}"),
	}
}

func event(t *testing.T, form string) Event {
	t.Helper()
	params, err := ParseForm([]byte(form))
	if err != nil {
		t.Fatal(err)
	}
	return Read(params)
}

const fromNova = "&From=whatsapp%3A%2B15559999&To=whatsapp%3A%2B15550100&SmsStatus=received&ProfileName=Nova"

func TestFunctionFindsOrMakesTheConversation(t *testing.T) {
	d := openDatabase(t)
	d.functions["conversation_of"] = func(a map[string]any) (int, string) {
		var id json.RawMessage
		err := d.DB().Tx(func(tx *standin.Tx) error {
			found, err := tx.Select("conversations", map[string]any{"customer_phone": a["phone"]})
			if err == nil && len(found) == 0 {
				var row map[string]json.RawMessage
				row, err = tx.Insert("conversations", map[string]any{"customer_phone": a["phone"], "customer_name": a["name"], "distributor_id": harbour})
				found = append(found, row)
			}
			if err == nil {
				id = found[0]["id"]
			}
			return err
		})
		if err != nil {
			return 500, `{"message":"` + err.Error() + `"}`
		}
		return 200, string(id) + "\n"
	}
	opts := mapping(t)
	opts.Function, opts.Find, opts.Create = "conversation_of", nil, columns(t, "phone={FromNumber}", "name={ProfileName}", "channel={Channel}", "media:={media}")
	s := NewStore(d.db, opts)
	for i := range 3 {
		row, err := s.Apply(t.Context(), event(t, fmt.Sprint("MessageSid=SM", i%2, "&Body=hello", fromNova)))
		if err != nil || !strings.Contains(string(row), `"hello"`) {
			t.Fatalf("message %d: %s (%v)", i, row, err)
		}
	}
	made := d.rows(t, "conversations", map[string]any{"customer_phone": "+15559999"})
	if len(made) != 1 || string(made[0]["customer_name"]) != `"Nova"` {
		t.Fatalf("conversations %v", made)
	}
	if stored := d.rows(t, "messages", map[string]any{"conversation_id": made[0]["id"]}); len(stored) != 2 {
		t.Errorf("%d messages, want 2: the third is a repetition", len(stored))
	}
	if want := `{"channel":"whatsapp","media":[],"name":"Nova","phone":"+15559999"}`; d.called[0] != want {
		t.Errorf("called with %s, want %s", d.called[0], want)
	}
}

func TestFunctionThatGivesNoIDStoresNothing(t *testing.T) {
	d := openDatabase(t)
	opts := mapping(t)
	opts.Function = "conversation_of"
	s := NewStore(d.db, opts)
	for name, c := range map[string]struct {
		status int
		answer string
		class  supabase.Class
		noRow  bool
	}{
		"null":         {200, `null`, 0, true},
		"void":         {204, ``, 0, true},
		"rows":         {200, `[{"id":"` + bakery + `"}]`, supabase.ClassPermanent, false},
		"away":         {503, `upstream connect error`, supabase.ClassRetry, false},
		"raised":       {400, `{"code":"P0001","message":"no such tenant"}`, supabase.ClassPermanent, false},
		"serialized":   {500, `{"code":"40001","message":"could not serialize access"}`, supabase.ClassRetry, false},
		"not granted":  {403, `{"code":"42501","message":"permission denied"}`, supabase.ClassDenied, false},
		"asked enough": {429, ``, supabase.ClassSlow, false},
	} {
		d.mu.Lock()
		d.functions["conversation_of"] = func(map[string]any) (int, string) { return c.status, c.answer }
		d.mu.Unlock()
		_, err := s.Apply(t.Context(), event(t, "MessageSid=SM1&Body=hello"+fromNova))
		e, typed := supabase.AsError(err)
		if errors.Is(err, ErrNoRow) != c.noRow || typed == c.noRow || typed && e.Class != c.class {
			t.Errorf("%s: %v", name, err)
		}
	}
	opts.Function = "never_made"
	if _, err := NewStore(d.db, opts).Apply(t.Context(), event(t, "MessageSid=SM1&Body=hello"+fromNova)); err == nil || !strings.Contains(err.Error(), "never_made") || !strings.Contains(err.Error(), "PGRST202") {
		t.Errorf("a function that is not there: %v", err)
	}
	if rows := d.rows(t, "messages", map[string]any{"external_message_id": "SM1"}); len(rows) != 0 {
		t.Errorf("stored %v", rows)
	}
}

func TestConversationThatSomebodyMadeMeanwhileIsTaken(t *testing.T) {
	d := openDatabase(t)
	opts := mapping(t)
	opts.Find = columns(t, "id=c9000000-0000-4000-8000-000000000009", "customer_phone={FromNumber}") // the key is what is unique here
	opts.Create = columns(t, "distributor_id="+harbour)
	quicker := sync.OnceFunc(func() {
		if err := d.DB().Tx(func(tx *standin.Tx) error {
			_, err := tx.Insert("conversations", map[string]any{"id": "c9000000-0000-4000-8000-000000000009", "customer_phone": "+15559999", "distributor_id": harbour})
			return err
		}); err != nil {
			t.Error(err)
		}
	})
	d.before = func(r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/rest/v1/conversations" {
			quicker()
		}
	}
	row, err := NewStore(d.db, opts).Apply(t.Context(), event(t, "MessageSid=SM1&Body=hello"+fromNova))
	if err != nil || !strings.Contains(string(row), "c9000000-0000-4000-8000-000000000009") {
		t.Errorf("stored %s (%v)", row, err)
	}
}

func TestMessageWithoutItsConversationWaits(t *testing.T) {
	d := openDatabase(t)
	s := NewStore(d.db, mapping(t)) // nothing is said of how one is made
	if _, err := s.Apply(t.Context(), event(t, "MessageSid=SM1&Body=hello"+fromNova)); !errors.Is(err, ErrNoRow) {
		t.Errorf("error %v", err)
	}
	opts := mapping(t)
	opts.Lookups = []Lookup{{Name: "tenant", table: "distributors", column: "id", where: columns(t, "phone={ToNumber}", "name=nobody")}}
	if _, err := NewStore(d.db, opts).Apply(t.Context(), event(t, "MessageSid=SM1&Body=hello"+fromNova)); !errors.Is(err, ErrNoRow) || !strings.Contains(err.Error(), "tenant") {
		t.Errorf("error %v, want one that names the lookup", err)
	}
}

func TestErrorCodeIsKeptAndEndsStay(t *testing.T) {
	d := openDatabase(t)
	opts := mapping(t)
	opts.Statuses["failed"], opts.Statuses["undelivered"] = "FAILED", "FAILED"
	opts.Failure = columns(t, "ai_extracted_intent?={ErrorCode}")
	s := NewStore(d.db, opts)
	if err := d.DB().Tx(func(tx *standin.Tx) error {
		_, err := tx.Insert("messages", map[string]any{"conversation_id": bakery, "content": "x", "external_message_id": "SM1", "status": "SENT"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		form    string
		changes bool
	}{
		{"MessageStatus=undelivered&ErrorCode=63016", true},
		{"MessageStatus=failed", false}, // a later failure without a code takes none away
		{"MessageStatus=delivered", false},
		{"MessageStatus=read", false},
	} {
		row, err := s.Apply(t.Context(), event(t, "MessageSid=SM1&From=%2B1&To=%2B2&"+c.form))
		if err != nil || (row != nil) != c.changes {
			t.Errorf("%d %s: %s (%v)", i, c.form, row, err)
		}
	}
	row := d.rows(t, "messages", map[string]any{"external_message_id": "SM1"})[0]
	if string(row["status"]) != `"FAILED"` || string(row["ai_extracted_intent"]) != `"63016"` {
		t.Errorf("the row ends as status %s, error code %s", row["status"], row["ai_extracted_intent"])
	}
	if _, err := s.Apply(t.Context(), event(t, "MessageSid=SM1&MessageStatus=something_new")); !errors.Is(err, ErrUnmapped) {
		t.Errorf("a status that nobody knows: %v", err)
	}
	if _, err := s.Apply(t.Context(), event(t, "MessageSid=SM9&MessageStatus=read")); !errors.Is(err, ErrNotYet) {
		t.Errorf("a status of a message that is not stored: %v", err)
	}
}
