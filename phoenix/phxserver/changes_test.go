package phxserver_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// change is a postgres_changes frame taken apart.
type change struct {
	Data struct {
		Table, Type, Schema string
		Record, OldRecord   json.RawMessage
		Old                 json.RawMessage `json:"old_record"`
		Columns             []phxserver.Column
		Errors              []string
		CommitTimestamp     string `json:"commit_timestamp"`
	}
	IDs []uint32
}

func (c *client) change() change {
	c.t.Helper()
	frame := c.next()
	var parts []json.RawMessage
	var out change
	if err := json.Unmarshal([]byte(frame), &parts); err != nil || len(parts) != 5 || string(parts[3]) != `"postgres_changes"` {
		c.t.Fatalf("not a change: %s", frame)
	}
	if err := json.Unmarshal(parts[4], &out); err != nil {
		c.t.Fatal(err)
	}
	return out
}

func TestChangeReachesItsBindingsLastFirst(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"event":"*","schema":"public","table":"notes"},{"event":"DELETE","schema":"public","table":"notes"},{"event":"*","schema":"*"}`)
		b.project.commit(inserted(notes, 1, "u1", "hi"))
		got := c.next()
		before, after, _ := strings.Cut(got, `"commit_timestamp":"`)
		_, after, _ = strings.Cut(after, `"`)
		want := `[null,null,"realtime:room","postgres_changes",{"data":{"table":"notes","type":"INSERT",` +
			`"record":{"id": 1, "body": "hi", "owner": "u1"},` +
			`"columns":[{"name": "id", "type": "int8"}, {"name": "owner", "type": "text"}, {"name": "body", "type": "text"}],` +
			`"errors":null,"schema":"public",},"ids":[113647290,23809488]}]`
		if before+after != want {
			b.t.Errorf("frame\n got %s\nwant %s", before+after, want)
		}
	})
}

func TestRowSecurityHidesRowsButNotDeletes(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		mine, service := b.connect(token("authenticated", "u1")), b.connect(token("service_role", ""))
		for _, c := range []*client{mine, service} {
			c.watch(`{"event":"*","schema":"public","table":"secrets"}`)
		}
		b.project.commit(inserted(secrets, 1, "u2", "theirs"))
		b.project.commit(inserted(secrets, 2, "u1", "mine"))
		b.project.commit(deleted(secrets, 1, "u2", "theirs"))
		var seen []string
		for range 2 {
			got := mine.change()
			seen = append(seen, got.Data.Type+string(got.Data.Record)+string(got.Data.Old))
		}
		want := []string{`INSERT{"id": 2, "body": "mine", "owner": "u1"}`, `DELETE{"id": 1}`}
		if strings.Join(seen, "|") != strings.Join(want, "|") {
			b.t.Errorf("the user saw %q, want %q", seen, want)
		}
		for _, kind := range []string{"INSERT", "INSERT", "DELETE"} {
			if got := service.change(); got.Data.Type != kind {
				b.t.Errorf("service_role saw %s, want %s", got.Data.Type, kind)
			}
		}
	})
}

func TestRowThatIsGoneAgainIsToldToNobody(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"event":"*","schema":"public","table":"secrets"}`)
		b.project.commit(inserted(secrets, 1, "u1", "short-lived"), deleted(secrets, 1, "u1", "short-lived"))
		if got := c.change(); got.Data.Type != "DELETE" {
			b.t.Errorf("got %s, want the DELETE alone", got.Data.Type)
		}
	})
}

func TestOldRecordFollowsReplicaIdentity(t *testing.T) {
	full := func(c phxserver.Change) phxserver.Change { c.FullIdentity = true; return c }
	for _, test := range []struct {
		name   string
		change phxserver.Change
		old    string
	}{
		{"update, default identity", updated(notes, 1, "u1", "a", "b"), `{"id": 1}`},
		{"update, full identity", full(updated(notes, 1, "u1", "a", "b")), `{"id": 1, "body": "a", "owner": "u1"}`},
		{"update, full identity, row security", full(updated(secrets, 1, "u1", "a", "b")), `{"id": 1, "body": "a", "owner": "u1"}`},
		{"delete, default identity", deleted(notes, 1, "u1", "a"), `{"id": 1}`},
		{"delete, full identity", full(deleted(notes, 1, "u1", "a")), `{"id": 1, "body": "a", "owner": "u1"}`},
		{"delete, full identity, row security", full(deleted(secrets, 1, "u1", "a")), `{"id": 1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBed(t, phxserver.Options{}, func(b *bed) {
				c := b.connect(token("service_role", ""))
				c.watch(`{"event":"*","schema":"public"}`)
				b.project.commit(test.change)
				if got := c.change(); string(got.Data.Old) != test.old {
					b.t.Errorf("old_record %s, want %s", got.Data.Old, test.old)
				}
			})
		})
	}
}

func TestFilterOfADeleteSeesOnlyTheIdentity(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"event":"DELETE","schema":"public","table":"notes","filter":"owner=eq.u1"}`)
		b.project.commit(deleted(notes, 1, "u1", "a"))
		c.silent(time.Second)
		whole := deleted(notes, 2, "u1", "a")
		whole.FullIdentity = true
		b.project.commit(whole)
		if got := c.change(); string(got.Data.Old) != `{"id": 2, "body": "a", "owner": "u1"}` {
			b.t.Errorf("old_record %s", got.Data.Old)
		}
	})
}

func TestSelectNarrowsColumnsAndKeepsTheKey(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"event":"*","schema":"public","table":"notes","select":["body"]},{"event":"*","schema":"public","table":"notes"}`)
		b.project.commit(inserted(notes, 1, "u1", "hi"))
		first, second := c.change(), c.change()
		if string(first.Data.Record) != `{"id": 1, "body": "hi"}` || len(first.Data.Columns) != 2 || len(first.IDs) != 1 {
			b.t.Errorf("with select: %+v", first)
		}
		if len(second.Data.Columns) != 3 || len(second.IDs) != 1 {
			b.t.Errorf("without select: %+v", second)
		}
	})
}

func TestUnchangedLargeValueIsLeftOut(t *testing.T) {
	inBed(t, phxserver.Options{ToastBytes: 100}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"event":"*","schema":"public","table":"notes"}`)
		large := strings.Repeat("x", 200)
		change := updated(notes, 1, "u1", large, large)
		change.New["owner"] = json.RawMessage(`"u2"`)
		b.project.commit(change)
		if got := c.change(); string(got.Data.Record) != `{"id": 1, "owner": "u2"}` || len(got.Data.Columns) != 3 {
			b.t.Errorf("record %s with %d columns", got.Data.Record, len(got.Data.Columns))
		}
	})
}

func TestRecordOverTheLimitArrivesWithError413(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{RecordBytes: 1000}}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"event":"*","schema":"public","table":"notes"}`)
		b.project.commit(inserted(notes, 1, "u1", strings.Repeat("x", 2000)))
		got := c.change()
		if string(got.Data.Record) != `{"id": 1, "owner": "u1"}` || len(got.Data.Errors) != 1 || got.Data.Errors[0] != "Error 413: Payload Too Large" {
			b.t.Errorf("record %s errors %q", got.Data.Record, got.Data.Errors)
		}
	})
}

func TestTableWithoutKeyTellsErrors(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"event":"*","schema":"public","table":"notes"}`)
		keyless := notes
		keyless.Key = nil
		b.project.commit(inserted(keyless, 1, "u1", "hi"))
		got := c.change()
		if string(got.Data.Record) != `{}` || len(got.Data.Columns) != 0 || len(got.Data.Errors) != 1 || got.Data.CommitTimestamp != "" {
			b.t.Errorf("got %+v", got)
		}
	})
}

func TestOneBadBindingDisablesTheChannel(t *testing.T) {
	const good = `{"event":"*","schema":"public","table":"notes"}`
	for _, test := range []struct{ binding, message string }{
		{`{"event":"*"}`, "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: %{\"event\" => \"*\"}"},
		{`{"schema":"public","table":"notes","filter":null}`, "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: %{\"filter\" => nil, \"schema\" => \"public\", \"table\" => \"notes\"}"},
		{`{"schema":"public","table":"none"}`, "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: [event: *, schema: public, table: none, filters: [], select: nil]"},
		{`{"schema":"public","table":"notes","filter":"body"}`, "Error parsing `filter` params: [\"body\"]"},
		{`{"schema":"public","table":"notes","filter":"none=eq.1"}`, "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: [event: *, schema: public, table: notes, filters: [{\"none\", \"eq\", \"1\", false}], select: nil]. Exception: ERROR P0001 (raise_exception) invalid column for filter none"},
		{`{"schema":"public","table":"notes","filter":"id=eq.x"}`, "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: [event: *, schema: public, table: notes, filters: [{\"id\", \"eq\", \"x\", false}], select: nil]. Exception: ERROR 22P02 (invalid_text_representation) invalid input syntax for type bigint: \"x\""},
		{`{"schema":"public","table":"notes","select":"id"}`, "Error parsing `select` params: expected a list of column name strings, e.g. select: [\"col1\", \"col2\"]"},
		{`{"schema":"public","table":"notes","select":["none"]}`, "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: [event: *, schema: public, table: notes, filters: [], select: [\"none\"]]. Exception: ERROR P0001 (raise_exception) invalid column for select none"},
	} {
		inBed(t, phxserver.Options{}, func(b *bed) {
			c := b.connect(token("service_role", ""))
			c.join("room", `"postgres_changes":[`+good+`,`+test.binding+`]`)
			message, _ := json.Marshal(test.message)
			text := strings.NewReplacer(`\u003e`, ">", `\u003c`, "<").Replace(string(message))
			c.expect(fmt.Sprintf(`["1",null,"realtime:room","system",{"message":%s,"status":"error","extension":"postgres_changes","channel":"room"}]`, text))
			b.project.commit(inserted(notes, 1, "u1", "hi"))
			c.silent(time.Minute)
		})
	}
}

func TestUnknownRoleIsToldOnSubscribing(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("nobody", ""))
		c.join("room", `"postgres_changes":[{"schema":"public"}]`)
		if got := c.next(); !strings.Contains(got, `ERROR 42704 (undefined_object) role \"nobody\" does not exist`) {
			b.t.Errorf("got %s", got)
		}
	})
}

func TestLegacyTopicIsTheSubscription(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.send(`["1","1","realtime:public:notes:owner=eq.u1","phx_join",{}]`)
		c.next()
		c.next()
		b.project.commit(inserted(notes, 1, "u2", "no"), inserted(notes, 2, "u1", "yes"))
		got := c.next()
		if !strings.HasPrefix(got, `[null,null,"realtime:public:notes:owner=eq.u1","INSERT",{"table":"notes","type":"INSERT","record":{"id": 2, `) {
			b.t.Errorf("got %s", got)
		}
	})
}

func TestRowsBeforeTheSubscriptionAreNotTold(t *testing.T) {
	opts := phxserver.Options{}
	opts.Timing.Subscribe = time.Second
	inBed(t, opts, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.join("room", `"postgres_changes":[{"schema":"public","table":"notes"}]`)
		b.project.commit(inserted(notes, 1, "u1", "in the gap"))
		c.expect(`["1",null,"realtime:room","system",` + subscribed + `]`)
		b.project.commit(inserted(notes, 2, "u1", "after it"))
		if got := c.change(); !strings.Contains(string(got.Data.Record), "after it") {
			b.t.Errorf("got %s", got.Data.Record)
		}
	})
}

func TestLeaveEndsTheSubscription(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"schema":"public","table":"notes"}`)
		c.send(`["1","2","realtime:room","phx_leave",{}]`)
		c.next()
		c.next()
		b.project.commit(inserted(notes, 1, "u1", "late"))
		c.silent(time.Second)
	})
}

func TestNewTokenSubscribesAnew(t *testing.T) {
	inBed(t, phxserver.Options{Timing: phxserver.RealTiming()}, func(b *bed) {
		c := b.connect(token("authenticated", "u1"))
		c.watch(`{"schema":"public","table":"secrets"}`)
		start := time.Now()
		c.send(`["1","2","realtime:room","access_token",{"access_token":"` + token("authenticated", "u2") + `"}]`)
		c.expect(`["1",null,"realtime:room","system",` + subscribed + `]`)
		if waited := time.Since(start); waited < time.Second || waited > 3*time.Second {
			b.t.Errorf("subscribed anew after %s, want 1s to 3s", waited)
		}
		b.project.commit(inserted(secrets, 1, "u1", "old"), inserted(secrets, 2, "u2", "new"))
		if got := c.change(); !strings.Contains(string(got.Data.Record), "new") {
			b.t.Errorf("got %s", got.Data.Record)
		}
	})
}

func TestIdleProjectIsPolledEveryHalfSecond(t *testing.T) {
	opts := phxserver.Options{}
	opts.Timing.Poll = 100 * time.Millisecond
	inBed(t, opts, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"schema":"public","table":"notes"}`)
		c.silent(10*time.Second + 10*time.Millisecond) // just after a round
		start := time.Now()
		b.project.commit(inserted(notes, 1, "u1", "a"))
		c.change()
		if waited := time.Since(start); waited < 400*time.Millisecond || waited > 500*time.Millisecond {
			b.t.Errorf("a change on an idle project took %s, want nearly 500ms", waited)
		}
	})
}

func TestTransactionsAreToldInCommitOrder(t *testing.T) {
	for _, poll := range []time.Duration{0, 100 * time.Millisecond} {
		opts := phxserver.Options{}
		opts.Timing.Poll = poll
		inBed(t, opts, func(b *bed) {
			c := b.connect(token("service_role", ""))
			c.watch(`{"schema":"public","table":"notes"}`)
			for i := range 1000 {
				b.project.commit(inserted(notes, 2*i, "u1", "a"), inserted(notes, 2*i+1, "u1", "b"))
			}
			for i := range 2000 {
				if got := c.change(); !strings.HasPrefix(string(got.Data.Record), fmt.Sprintf(`{"id": %d,`, i)) {
					b.t.Fatalf("poll %s: change %d is %s", poll, i, got.Data.Record)
				}
			}
		})
	}
}

func TestTruncateIsNotTold(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"schema":"public","table":"notes"}`)
		b.project.commit(phxserver.Change{Type: "TRUNCATE", Table: notes})
		c.silent(time.Second)
	})
}
