package bridge

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix"
)

// everyTopic is the policy of an application that lets its users use every private channel.
var everyTopic = []standin.TopicPolicy{{Role: "authenticated", Topic: "%", Read: true, Write: true}}

// forger is another tenant's user on the topic of the lane, or on what they take for it.
type forger struct {
	w       *world
	topic   string
	channel *phoenix.Channel
}

func (w *world) forger(topic string) *forger {
	w.t.Helper()
	client, err := phoenix.NewClient(w.bridge.cfg().Supabase.URL, phoenix.Options{APIKey: w.project.AnonKey()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = client.Close(context.Background()) })
	channel, err := client.Channel(topic, phoenix.ChannelOptions{Private: true, Broadcast: phoenix.BroadcastOptions{Ack: true}, Token: func(context.Context) (string, error) {
		return w.project.UserToken(doraID)
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := channel.Subscribe(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return &forger{w, topic, channel}
}

// joined reports whether the forger was let onto the channel.
func (f *forger) joined() bool {
	f.w.t.Helper()
	for {
		select {
		case e := <-f.channel.Events():
			switch e.(type) {
			case *phoenix.Live:
				return true
			case *phoenix.Retrying, *phoenix.Lost:
				return false
			}
		case <-time.After(patience):
			f.w.t.Fatal("the forger was neither let in nor refused")
		}
	}
}

// forge broadcasts an insert that the database never made, by websocket and over REST.
func (f *forger) forge(joined bool) {
	f.w.t.Helper()
	now := time.Now().UTC().Format(time.RFC3339Nano)
	payload := `{"schema":"public","table":"messages","operation":"INSERT","old_record":null,"record":{"id":"e9000000-0000-4000-8000-000000000666",
		"conversation_id":"` + bakery + `","content":"forged","created_at":"` + now + `","updated_at":"` + now + `"}}`
	if joined {
		if err := f.channel.Send(f.w.t.Context(), "INSERT", json.RawMessage(payload)); err != nil {
			f.w.t.Fatal(err)
		}
	}
	token, err := f.w.project.UserToken(doraID)
	if err != nil {
		f.w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(f.w.t.Context(), http.MethodPost, f.w.bridge.cfg().Supabase.URL+"/realtime/v1/api/broadcast",
		strings.NewReader(`{"messages":[{"topic":"`+f.topic+`","event":"INSERT","private":true,"payload":`+payload+`}]}`))
	if err != nil {
		f.w.t.Fatal(err)
	}
	req.Header.Set("apikey", f.w.project.AnonKey())
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.w.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		f.w.t.Fatalf("the broadcast was answered %d", resp.StatusCode)
	}
}

// heard reports whether the forger was sent a broadcast of somebody else. It sends one itself,
// which is answered after those before.
func (f *forger) heard() bool {
	f.w.t.Helper()
	if err := f.channel.SendAck(f.w.t.Context(), "asked", struct{}{}); err != nil {
		f.w.t.Fatal(err)
	}
	for {
		select {
		case e := <-f.channel.Events():
			if m, ok := e.(*phoenix.BroadcastMessage); ok && m.Event != "asked" && !strings.Contains(string(m.Payload), "forged") {
				return true
			}
		default:
			return false
		}
	}
}

// verified waits until the bridge believes the lane, or does not.
func (w *world) verified(want bool) {
	w.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for w.bridge.lane.verified() != want {
		w.bridge.lane.verify()
		select {
		case <-ticker.C:
		case <-timeout.C:
			w.t.Fatalf("the lane's being verified is not %t; log:\n%s", want, w.log)
		}
	}
}

// openLane is a world whose application lets its users use every topic, with the lane on a topic.
func openLane(t *testing.T, topic string) *world {
	t.Helper()
	opts := standin.Options{Broadcast: map[string]string{"messages": topic, "conversations": topic}}
	opts.Realtime.Policies = everyTopic
	return newWorldOn(t, opts, func(cfg *config.Config) { cfg.Supabase.FastLane = "auto" })
}

// secretTopic is as the migration makes one.
const secretTopic = migration.Topic + ":3f0c2b7e9d5a4c1e8b6f7a9d0e1c2b3a"

func TestAForgedBroadcastReachesNobody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		tries   string // the topic that the forger knows
		before  func(*world)
		admits  bool // the forger is let onto it
		slowNow bool // the bridge has left the lane
	}{
		{"while the guard is there", secretTopic, func(*world) {}, false, false},
		{"between the guard's end and the next verification", migration.Topic, func(w *world) { w.project.SetLaneGuard(false) }, true, false},
		{"after the guard's end was noticed", secretTopic, func(w *world) { w.project.SetLaneGuard(false); w.verified(false) }, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := openLane(t, secretTopic)
			w.fast()
			ana := w.as(anaID)
			ana.must("join_conversation", bakery)
			c.before(w)
			f := w.forger(c.tries)
			if joined := f.joined(); joined != c.admits {
				t.Fatalf("the forger is on the channel: %t", joined)
			}
			f.forge(c.admits)
			before := w.bridge.upstream.feed.Stats().Fast
			id := w.write(bakery, "true")
			if got := ana.event("new_message"); got["id"] != id {
				t.Errorf("new_message %v, which nobody wrote", got)
			}
			ana.sync()
			if ana.heard("new_message") || ana.heard("message_updated") || ana.heard("message_deleted") {
				t.Errorf("a browser heard more: %q", ana.held)
			}
			if c.admits && !c.slowNow && f.heard() {
				t.Error("the forger heard a row")
			}
			if after := w.bridge.upstream.feed.Stats().Fast; c.slowNow && after != before {
				t.Error("the bridge still hears the lane")
			}
		})
	}
}

func TestALaneThatLosesItsGuardIsLeftUntilItHasOneAgain(t *testing.T) {
	t.Parallel()
	w := openLane(t, secretTopic)
	w.fast()
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	w.project.SetLaneGuard(false)
	w.verified(false)
	for range 3 {
		w.bridge.lane.verify()
		id := w.write(bakery, "by postgres_changes")
		if got := ana.event("new_message"); got["id"] != id {
			t.Errorf("new_message %v, want %s", got, id)
		}
	}
	w.project.SetLaneGuard(true)
	w.verified(true)
	before := w.bridge.upstream.feed.Stats().Fast
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for w.bridge.upstream.feed.Stats().Fast == before {
		w.rest("PATCH", "conversations?id=eq."+bakery, `{"status":"ACTIVE"}`)
		select {
		case <-ticker.C:
		case <-timeout.C:
			t.Fatalf("the lane is not heard again; log:\n%s", w.log)
		}
	}
	text := w.log.String()
	if n := strings.Count(text, "is not verified"); n != 1 || !strings.Contains(text, "supabridge_service_role_only") || !strings.Contains(text, "supabridge sql | psql") {
		t.Errorf("the loss was logged %d times, or without its reason and what mends it:\n%s", n, text)
	}
	if strings.Contains(text, secretTopic) {
		t.Errorf("the log names the channel:\n%s", text)
	}
}
