package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// shared is a world whose typing and presence are shared both ways.
func shared(t *testing.T, options standin.Options, change func(*config.Config)) *world {
	return newWorldOn(t, options, func(c *config.Config) {
		c.Realtime.Typing.Share, c.Realtime.Presence.Share = "both", "both"
		c.Presence.Grace = 50 * time.Millisecond
		c.Realtime.Linger = 0
		if change != nil {
			change(c)
		}
	})
}

// elsewhereClient is a client of Realtime on one channel.
type elsewhereClient struct {
	t  *testing.T
	ch *phoenix.Channel
}

func (w *world) realtime(topic, key string) *elsewhereClient {
	w.t.Helper()
	return w.joins(topic, phoenix.ChannelOptions{Presence: phoenix.PresenceOptions{Enabled: true, Key: key}})
}

// privately is realtime on a private channel.
func (w *world) privately(topic string) *elsewhereClient {
	w.t.Helper()
	return w.joins(topic, phoenix.ChannelOptions{Private: true, Presence: phoenix.PresenceOptions{Enabled: true}})
}

func (w *world) joins(topic string, options phoenix.ChannelOptions) *elsewhereClient {
	w.t.Helper()
	client, err := phoenix.NewClient(w.bridge.cfg().Supabase.URL, phoenix.Options{APIKey: w.project.AnonKey()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = client.Close(ctx)
	})
	ch, err := client.Channel(topic, options)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := ch.Subscribe(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := ch.Wait(w.t.Context(), phoenix.StageJoined); err != nil {
		w.t.Fatal(err)
	}
	return &elsewhereClient{w.t, ch}
}

// sees waits until those present satisfy a condition; key and content of each, by key.
func (c *elsewhereClient) sees(what string, is func(map[string]string) bool) {
	c.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		now := make(map[string]string)
		for _, p := range c.ch.Present() {
			now[p.Key] += string(p.Meta)
		}
		if is(now) {
			return
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			c.t.Fatalf("%s was not seen; present are %v", what, now)
		}
	}
}

// hears waits for a broadcast.
func (c *elsewhereClient) hears(event string) map[string]any {
	c.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case e := <-c.ch.Events():
			if m, ok := e.(*phoenix.BroadcastMessage); ok && m.Event == event {
				var payload map[string]any
				if err := json.Unmarshal(m.Payload, &payload); err != nil {
					c.t.Fatal(err)
				}
				return payload
			}
		case <-timeout.C:
			c.t.Fatalf("no broadcast %s", event)
		}
	}
}

func TestTypingIsSharedWithClientsOfRealtimeBothWays(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Config){
		"typing:" + bakery: nil,
		"room-of-" + harbour: func(c *config.Config) {
			c.Realtime.Typing.Topic, c.Realtime.Typing.StopEvent = "room-of-{tenant}", "stopped"
		},
		"everywhere": func(c *config.Config) { c.Realtime.Typing.Topic = "everywhere" },
	} {
		t.Run(name, func(t *testing.T) {
			w := shared(t, standin.Options{}, change)
			ana := w.as(anaID)
			ana.must("join_conversation", bakery)
			other := w.realtime(name, "")
			ana.must("typing_start", bakery)
			if got := other.hears("typing"); got["userId"] != anaID || got["isTyping"] != true || got["conversation_id"] != bakery || got["user_name"] != "Ana Reyes" {
				t.Errorf("typing %v", got)
			}
			ana.must("typing_stop", bakery)
			if change != nil && strings.HasPrefix(name, "room-of") {
				other.hears("stopped")
			} else if got := other.hears("typing"); got["isTyping"] != false {
				t.Errorf("typing %v, want it ended", got)
			}
			if err := other.ch.Send(t.Context(), "typing", map[string]any{"user_id": benID, "user_name": "Ben", "conversation_id": bakery}); err != nil {
				t.Fatal(err)
			}
			if got := ana.event("user_typing"); got["userId"] != benID || got["userName"] != "Ben" || got["isTyping"] != true || got["conversationId"] != bakery {
				t.Errorf("user_typing %v", got)
			}
			w.bridge.typing.Wrote(bakery, benID)
			ana.event("user_stopped_typing")
		})
	}
}

func TestTypingOfAnotherTenantsConversationDoesNotComeInByATenantsTopic(t *testing.T) {
	t.Parallel()
	w := shared(t, standin.Options{}, func(c *config.Config) { c.Realtime.Typing.Topic = "room-of-{tenant}" })
	ana, dora := w.as(anaID), w.as(doraID)
	ana.must("join_conversation", bakery)
	dora.must("join_conversation", "c2000000-0000-4000-8000-000000000001")
	ours := w.realtime("room-of-"+harbour, "")
	ana.must("typing_start", bakery)
	ours.hears("typing") // the bridge has joined
	for _, conversation := range []string{"c2000000-0000-4000-8000-000000000001", "no such", bakery} {
		if err := ours.ch.Send(t.Context(), "typing", map[string]any{"userId": benID, "conversationId": conversation}); err != nil {
			t.Fatal(err)
		}
	}
	ana.event("user_typing")
	dora.sync()
	if dora.heard("user_typing") {
		t.Error("typing crossed into another tenant")
	}
}

func TestPresenceIsSharedWithClientsOfRealtimeBothWays(t *testing.T) {
	t.Parallel()
	w := shared(t, standin.Options{}, func(c *config.Config) { c.Realtime.Presence.Seats = 1 })
	ana := w.as(anaID)
	ana.must("join_distributor")
	realtime := w.realtime("presence:"+harbour, "guest")
	realtime.sees("ana in a seat", func(p map[string]string) bool { return strings.Contains(p[anaID], `"user_id":"`+anaID+`"`) })
	if err := realtime.ch.Track(t.Context(), map[string]string{"name": "Guest", "status": "away"}); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, ana, "guest", "away")
	if err := realtime.ch.Track(t.Context(), map[string]string{"name": "Guest", "status": "online"}); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, ana, "guest", "online")
	ben := w.as(benID)
	listed := func(p map[string]string) bool {
		for _, meta := range p {
			if strings.Contains(meta, `"users":[`) && strings.Contains(meta, benID) {
				return true
			}
		}
		return false
	}
	realtime.sees("ben in the list", listed)
	ana.must("user_away")
	realtime.sees("ana away", func(p map[string]string) bool {
		return strings.Contains(p[anaID], `"status":"away"`) && !strings.Contains(p[anaID], `"status":"online"`)
	})
	ana.conn.Close()
	realtime.sees("ana gone", func(p map[string]string) bool { return p[anaID] == "" })
	realtime.sees("ben in her seat", func(p map[string]string) bool { return p[benID] != "" && !listed(p) })

	ben.must("join_distributor")
	if err := realtime.ch.Untrack(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, ben, "guest", "offline")
	ben.sync()
	var online []string
	if err := json.Unmarshal(ben.ask("get_online_users"), &online); err != nil || fmt.Sprint(online) != "["+benID+"]" {
		t.Errorf("online are %v (%v), want ben alone: our own presences are nobody's", online, err)
	}
}

func TestSharingKeepsWithinTheLimitsOfRealtime(t *testing.T) {
	t.Parallel()
	limits := phxserver.RealLimits()
	limits.Users, limits.Channels = 4, 2
	w := shared(t, standin.Options{Realtime: standin.RealtimeOptions{Options: phxserver.Options{Limits: limits}}}, func(c *config.Config) {
		c.Realtime.MaxChannels, c.Realtime.Presence.Seats, c.Realtime.BroadcastsPerSecond = 2, 0, 1
		c.Typing.Repeat = 0
	})
	ana := w.as(anaID)
	ana.must("join_distributor")
	for i := range 3 {
		ana.must("join_conversation", fmt.Sprintf("c1000000-0000-4000-8000-00000000000%d", i+1))
	}
	other := w.realtime("typing:"+bakery, "")
	ana.must("typing_start", bakery)
	other.hears("typing")
	for range 30 {
		ana.emit("typing_stop", bakery)
		ana.emit("typing_start", bakery)
	}
	ana.must("typing_stop", bakery)
	told := 1
	for on := any(true); on != false; told++ {
		on = other.hears("typing")["isTyping"]
	}
	if told > 10 {
		t.Errorf("of 62 signs %d were sent, want them coalesced", told)
	}
	w.until("leave one out", func(feed.State) bool { return strings.Contains(w.log.String(), "too many channels") })
	if strings.Contains(w.log.String(), "rate limit") || strings.Contains(w.log.String(), "ChannelRateLimitReached") {
		t.Error("a limit of Realtime was reached")
	}
}
