package bridge

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
)

// inboxWith is the stand-in's own seed with other columns of time in its messages.
func inboxWith(t *testing.T, updated string) *standin.Seed {
	t.Helper()
	text, err := os.ReadFile("standin/seed/inbox.yaml")
	if err != nil {
		t.Fatal(err)
	}
	head, messages, found := strings.Cut(string(text), "\n  messages:\n")
	if !found {
		t.Fatal("the seed has no messages")
	}
	column := regexp.MustCompile(`\n +updated_at: \{[^}]*\}`)
	if updated == "" {
		messages = strings.Replace(messages, "indexes: [[updated_at, id]]", "indexes: [[created_at, id]]", 1)
		messages = regexp.MustCompile(`, updated_at: [^,}]*`).ReplaceAllString(messages, "")
	} else {
		updated = "\n      updated_at: " + updated
	}
	seed, err := standin.ParseSeed(strings.NewReader(head + "\n  messages:\n" + column.ReplaceAllString(messages, updated)))
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// join enters the bakery with since and gives the answer, and the ids of the messages that came
// before it.
func (b *browser) join(since any) (outcome, []any) {
	b.t.Helper()
	o := b.try("join_conversation", map[string]any{"conversationId": bakery, "since": since})
	var ids []any
	for b.heard("new_message") {
		ids = append(ids, b.event("new_message")["id"])
	}
	return o, ids
}

func TestAJoinWithSinceOfAnyShapeEntersTheRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Limits.User.Events, cfg.Limits.Socket.Events = nil, nil })
	gone := w.write(bakery, "deleted later")
	goneRow := w.rest("GET", "messages?id=eq."+gone, "")[0]
	w.rest("DELETE", "messages?id=eq."+gone, "")
	first := w.write(bakery, "seen")
	seen := w.rest("GET", "messages?id=eq."+first, "")[0]
	elsewhere := w.write("c1000000-0000-4000-8000-000000000002", "of another conversation")
	others := w.write("c2000000-0000-4000-8000-000000000001", "of another tenant")
	at, err := time.Parse(time.RFC3339Nano, seen["updated_at"].(string))
	if err != nil {
		t.Fatal(err)
	}
	missed := w.write(bakery, "missed")
	ben := w.as(benID)
	ben.must("join_conversation", bakery)
	ben.must("join_conversation", "c1000000-0000-4000-8000-000000000002")
	w.settle(ben, bakery)

	object := func(pairs ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	many := make([]any, 2000)
	for i := range many {
		many[i] = fmt.Sprint("id ", i)
	}
	just := at.Add(-time.Millisecond)
	madeUp := "99999999-9999-4999-8999-999999999999"
	const brings, bringsNothing = true, false
	for _, test := range []struct {
		name     string
		since    any
		complete bool
		brings   bool
	}{
		{"a number of milliseconds", just.UnixMilli(), true, brings},
		{"a number of seconds", float64(just.UnixMilli()) / 1000, true, brings},
		{"milliseconds as text", fmt.Sprint(just.UnixMilli()), true, brings},
		{"toISOString", just.UTC().Format("2006-01-02T15:04:05.000Z"), true, brings},
		{"String(date)", just.UTC().Format("Mon Jan 02 2006 15:04:05 GMT-0700") + " (Coordinated Universal Time)", true, brings},
		{"toUTCString", just.UTC().Format(http.TimeFormat), true, brings},
		{"the message", seen, true, brings},
		{"its id", first, true, brings},
		{"its id in an object", object("id", first), true, brings},
		{"times as numbers", object("id", "", "createdAt", just.UnixMilli()), true, brings},
		{"a message and one not stored yet", []any{seen, object("id", "temp-1", "content", "hi")}, true, brings},
		{"a message and one not stored yet, with a time",
			[]any{seen, object("id", madeUp, "created_at", time.Now().UTC().Format(time.RFC3339Nano))}, true, brings},
		{"one not stored yet", object("id", "temp-1", "content", "hi"), false, bringsNothing},
		{"one not stored yet, with a time", object("id", madeUp, "created_at", just.UTC().Format(time.RFC3339Nano)), false, brings},
		{"a deleted message", goneRow, false, brings},
		{"a deleted message's id", gone, false, bringsNothing},
		{"a message and a deleted one's id", []any{seen, gone}, false, brings},
		{"a message of another conversation", elsewhere, false, bringsNothing},
		{"a message of another tenant", others, false, bringsNothing},
		{"a time to come", time.Now().Add(time.Hour).UnixMilli(), false, bringsNothing},
		{"an empty list", []any{}, false, bringsNothing},
		{"null", nil, false, bringsNothing},
		{"an empty text", "", false, bringsNothing},
		{"words", "yesterday", false, bringsNothing},
		{"true", true, false, bringsNothing},
		{"zero", 0, false, bringsNothing},
		{"less than nothing", -1, false, bringsNothing},
		{"an empty object", object(), false, bringsNothing},
		{"a list of nothing", []any{nil, []any{}, object(), false}, false, bringsNothing},
		{"lists in lists", []any{[]any{[]any{seen}}}, false, bringsNothing},
		{"an object for an id", object("id", object("id", first), "updated_at", []any{}), false, bringsNothing},
		{"infinity", object("id", nil, "updated_at", "infinity"), false, bringsNothing},
		{"a year that no database has", "99999-01-01T00:00:00Z", false, bringsNothing},
		{"a NUL", "\x00", false, bringsNothing},
		{"quotes", `",and(id.gt.0)`, false, bringsNothing},
		{"a filter", "is.null", false, bringsNothing},
		{"a long text", strings.Repeat("x", 10_000), false, bringsNothing},
		{"two thousand ids", many, false, bringsNothing},
	} {
		ana := w.as(anaID)
		o, ids := ana.join(test.since)
		if !o.Success || o.Complete == nil || *o.Complete != test.complete || (o.Reason == "") != test.complete {
			complete := "missing"
			if o.Complete != nil {
				complete = fmt.Sprint(*o.Complete)
			}
			t.Errorf("since %s: success %t, code %q, complete %s, reason %q; want the room entered, and complete %t",
				test.name, o.Success, o.Code, complete, o.Reason, test.complete)
		}
		brought := false
		for _, id := range ids {
			brought = brought || id == missed
			if id != missed && id != first && id != "e1000000-0000-4000-8000-000000000004" {
				t.Errorf("since %s: brought %v", test.name, id)
			}
		}
		if brought != test.brings {
			t.Errorf("since %s: brought %v, want the row that was missed among them: %t", test.name, ids, test.brings)
		}
		live := w.write(bakery, "live")
		if got := ana.event("new_message"); got["id"] != live {
			t.Errorf("since %s: new_message %v, want the live one", test.name, got)
		}
		ana.sync()
		if asked := ana.heard("resync"); asked != (!test.complete && test.since != nil) {
			t.Errorf("since %s: asked to resync: %t", test.name, asked)
		}
		if ana.heard("new_message") {
			t.Errorf("since %s: more came: %q", test.name, ana.held)
		}
		for ben.event("new_message")["id"] != live {
		}
		w.rest("DELETE", "messages?id=eq."+live, "")
		ana.conn.Close()
	}
}

// settle waits until what was written to a conversation has been told.
func (w *world) settle(member *browser, conversation string) {
	w.t.Helper()
	id := w.write(conversation, "settled")
	for member.event("new_message")["id"] != id {
	}
	w.rest("DELETE", "messages?id=eq."+id, "")
}

func TestAJoinWithSinceBringsRowsThatWereNeverChanged(t *testing.T) {
	t.Parallel()
	seed := inboxWith(t, "{type: timestamptz, on_update: now()}") // null until the first update
	w := newWorldOn(t, standin.Options{Seed: seed}, nil)
	first := w.write(bakery, "seen")
	seen := w.rest("GET", "messages?id=eq."+first, "")[0]
	if seen["updated_at"] != nil {
		t.Fatalf("the row has a time of change: %v", seen)
	}
	one, changed, two := w.write(bakery, "one"), w.write(bakery, "changed"), w.write(bakery, "two")
	w.rest("PATCH", "messages?id=eq."+changed, `{"content":"changed once"}`)
	for name, since := range map[string]any{"the message": seen, "its id": first, "a list": []any{seen}} {
		ana := w.as(anaID)
		o, ids := ana.join(since)
		ids = without1(ids, first)
		if !o.Success || o.Complete == nil || !*o.Complete || len(ids) != 3 || ids[0] != one || ids[1] != two || ids[2] != changed {
			t.Errorf("since %s: %+v brought %v, want %s, %s and %s, and that this is all", name, o, ids, one, two, changed)
		}
	}
}

// without1 is a list but one of its members.
func without1(list []any, one any) []any {
	var rest []any
	for _, member := range list {
		if member != one {
			rest = append(rest, member)
		}
	}
	return rest
}

func TestAJoinWithSinceDoesWithoutATimeOfChange(t *testing.T) {
	t.Parallel()
	for name, configured := range map[string]bool{"the column is configured": true, "it is not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldOn(t, standin.Options{Seed: inboxWith(t, "")}, func(cfg *config.Config) {
				if !configured {
					cfg.Tables.Messages.Updated = ""
				}
			})
			first := w.write(bakery, "seen")
			seen := w.rest("GET", "messages?id=eq."+first, "")[0]
			missed := w.write(bakery, "missed")
			ana := w.as(anaID)
			o, ids := ana.join(seen)
			// Nobody can say whether an older row was changed meanwhile.
			if !o.Success || o.Complete == nil || *o.Complete || o.Reason != "no_update_time" || len(ids) != 1 || ids[0] != missed {
				t.Errorf("%+v brought %v, want the room entered with %s, and that this may not be all", o, ids, missed)
			}
			live := w.write(bakery, "live")
			if got := ana.event("new_message"); got["id"] != live {
				t.Errorf("new_message %v, want the live one", got)
			}
		})
	}
}

func TestAJoinWithSinceBringsEveryRowWhateverTheProjectsMaxRows(t *testing.T) {
	t.Parallel()
	const rows = 300
	for _, maxRows := range []int{1, 7, 131, 300} {
		t.Run(fmt.Sprint(maxRows), func(t *testing.T) {
			t.Parallel()
			w := newWorldOn(t, standin.Options{MaxRows: maxRows}, func(cfg *config.Config) {
				cfg.Supabase.RequestTimeout = time.Minute // bounds the whole read, which one row at a time takes hundreds of requests
			})
			first := w.write(bakery, "seen")
			seen := w.rest("GET", "messages?id=eq."+first, "")[0]
			w.fill(bakery, rows/2) // of one transaction: all have the same time
			w.fill(bakery, rows/2)
			ana := w.as(anaID)
			read := w.hold(isSinceRead)
			go func() { // more of the same conversation comes by the feed while it is read
				<-read.reached
				w.fill(bakery, 20)
				close(read.open)
			}()
			o := ana.try("join_conversation", map[string]any{"conversationId": bakery, "since": seen})
			if o.Complete == nil || !*o.Complete {
				t.Fatalf("max rows %d: %+v, want all of it", maxRows, o)
			}
			got := map[any]bool{}
			for len(got) < rows+20 {
				id := ana.event("new_message")["id"]
				if got[id] {
					t.Fatalf("max rows %d: row %v came twice, after %d", maxRows, id, len(got))
				}
				got[id] = true
			}
			ana.sync()
			if ana.heard("new_message") {
				t.Errorf("max rows %d: more than %d rows came", maxRows, rows+20)
			}
		})
	}
}

func TestAJoinWithSinceThatMissedTooMuchEntersWithTheOldest(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rows, size, least int
		queue             config.Size
	}{
		"many rows":  {21_000, 1, maxSince - 1, 64 << 20},
		"large rows": {100, 50_000, 1, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(cfg *config.Config) { cfg.SocketIO.MaxQueue = test.queue })
			first := w.write(bakery, "seen")
			seen := w.rest("GET", "messages?id=eq."+first, "")[0]
			w.silence() // the live feed is not what this is about
			content := strings.Repeat("x", test.size)
			w.inside(func(tx *standin.Tx) error {
				for i := range test.rows {
					row := map[string]any{"conversation_id": bakery, "content": content, "thread_position": i}
					if _, err := tx.Insert("messages", row); err != nil {
						return err
					}
				}
				return nil
			})
			ana := w.as(anaID)
			o, ids := ana.join(seen)
			if !o.Success || o.Complete == nil || *o.Complete || o.Reason != "since_too_far" {
				t.Errorf("%+v, want the room entered, and that not all came", o)
			}
			if len(ids) < test.least || len(ids) > maxSince || len(ids) == test.rows {
				t.Errorf("%d of %d rows came, want %d at least, and at most %d", len(ids), test.rows, test.least, maxSince)
			}
			if got := ana.event("resync"); got["conversationId"] != bakery || got["reason"] != "since_too_far" || got["since"] == nil {
				t.Errorf("resync %v", got)
			}
			ana.must("typing_start", bakery)
		})
	}
}

func TestANumberAsSinceIsAMessageWhereThereIsOneAndElseATime(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"int4", "int8"} { // milliseconds are out of an int4's range
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			seed, err := standin.ParseSeed(strings.NewReader(`
tables:
  conversations:
    columns:
      id: {type: uuid, default: gen_random_uuid()}
      distributor_id: {type: uuid, not_null: true}
      created_at: {type: timestamptz, not_null: true, default: now()}
      updated_at: {type: timestamptz, not_null: true, default: now(), on_update: now()}
    primary_key: [id]
    replica_identity: full
    row_security:
      - {column: distributor_id, claim: app_metadata.distributor_id}
    rows:
      - {id: ` + bakery + `, distributor_id: ` + harbour + `}
  messages:
    columns:
      id: {type: ` + key + `}
      conversation_id: {type: uuid, not_null: true}
      content: {type: text, not_null: true}
      created_at: {type: timestamptz, not_null: true, default: now()}
      updated_at: {type: timestamptz, not_null: true, default: now(), on_update: now()}
    primary_key: [id]
`))
			if err != nil {
				t.Fatal(err)
			}
			w := newWorldOn(t, standin.Options{Seed: seed}, nil)
			const first = 1_700_000_000 // a time in seconds as well, of 2023
			var seen time.Time
			for i := range 3 {
				row := w.insert("messages", map[string]any{"id": first + i, "conversation_id": bakery, "content": fmt.Sprint(i)})
				if i == 1 {
					if seen, err = time.Parse(time.RFC3339Nano, row["updated_at"].(string)); err != nil {
						t.Fatal(err)
					}
				}
			}
			for name, test := range map[string]struct {
				since any
				rows  int
			}{
				"the second message's id": {first + 1, 2},
				"its id as text":          {fmt.Sprint(first + 1), 2},
				"a time in seconds":       {1_600_000_000, 3},
				"milliseconds":            {seen.Add(-time.Millisecond).UnixMilli(), 2},
			} {
				ana := connect(t, w.address, map[string]string{"token": tokenOfTenant(t, anaID, harbour)})
				o, ids := ana.join(test.since)
				if o.Complete == nil || !*o.Complete || len(ids) < test.rows || test.rows == 2 && ids[len(ids)-2] != float64(first+1) {
					t.Errorf("since %s: %+v brought %v, want the last %d rows, and that this is all", name, o, ids, test.rows)
				}
			}
		})
	}
}
