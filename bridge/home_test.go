package bridge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/redistest"
)

const carlaID = "a1000000-0000-4000-8000-000000000003" // of the seed, with ana and ben

// byMembership has the table users say who belongs to which tenant, whatever a token says.
func byMembership(cfg *config.Config) {
	cfg.Rooms.Tenant.Rules = []string{"membership"}
	cfg.Rooms.Tenant.Membership = config.Membership{Table: "users", User: "id", Room: "distributor_id"}
}

// presenceEvents are all by which a browser asks who is online, or says how it is.
var presenceEvents = []struct {
	name string
	args []any
}{
	{"get_presence", nil},
	{"get_presence", []any{harbour}},
	{"get_presence", []any{map[string]string{"distributorId": harbour}}},
	{"get_presence", []any{map[string]string{"distributorId": strings.ToUpper(harbour)}}},
	{"get_user_status", []any{map[string]string{"userId": anaID}}},
	{"get_online_users", nil},
	{"get_online_users", []any{harbour}},
	{"join_distributor", nil},
}

// learnsNothing fails where a browser gets anything but refusals from a tenant's presence.
func learnsNothing(t *testing.T, who string, b *browser) {
	t.Helper()
	for _, e := range presenceEvents {
		answer := string(b.ask(e.name, e.args...))
		refused := strings.Contains(answer, `"success":false`)
		if strings.Contains(answer, anaID) || strings.Contains(answer, "Ana") || !refused {
			t.Errorf("%s asks %s %v and gets %s, want a refusal", who, e.name, e.args, answer)
		}
	}
	for _, e := range []string{"user_away", "user_active", "presence:busy"} {
		b.ask(e)
	}
	b.ask("set_status", map[string]string{"status": "online"})
	for _, e := range []string{"online_users", "presence_state", "user_online", "user_offline", "presence_update"} {
		if b.heard(e) {
			t.Errorf("%s heard %s: %q", who, e, b.held)
		}
	}
}

// reads fails unless a browser, which need not have joined anything, is told that a user is online.
func (b *browser) reads(user string) {
	b.t.Helper()
	for _, event := range []string{"get_online_users", "get_presence"} {
		if answer := string(b.ask(event)); !strings.Contains(answer, user) {
			b.t.Errorf("%s has no %s: %s", event, user, answer)
		}
	}
}

// release lets a request that is held go on.
func (h *held) release() {
	select {
	case <-h.open:
	default:
		close(h.open)
	}
}

// wait waits for a channel to be closed.
func (w *world) wait(what string, done <-chan struct{}) {
	w.t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		w.t.Fatalf("%s did not happen", what)
	}
}

// toldGone waits until a member is told that a user is offline.
func (b *browser) toldGone(user string) {
	b.t.Helper()
	for b.event("user_offline")["userId"] != user {
	}
	awaitStatus(b.t, b, user, "offline")
	b.held = nil
}

// neverToldOf fails where a browser was told of a user's presence.
func (b *browser) neverToldOf(user string) {
	b.t.Helper()
	b.sync()
	for _, p := range b.held {
		if strings.Contains(p, user) {
			b.t.Errorf("a member was told of %s: %s", user, p)
		}
	}
	for _, event := range []string{"get_online_users", "get_presence"} {
		if answer := string(b.ask(event)); strings.Contains(answer, user) {
			b.t.Errorf("%s has %s: %s", event, user, answer)
		}
	}
}

func TestATokenThatNamesATenantIsNoWayIntoItsPresence(t *testing.T) {
	t.Parallel()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(refusing.Close)
	for name, rules := range map[string]func(*config.Config){
		"membership": byMembership,
		"no rule":    func(cfg *config.Config) { cfg.Rooms.Tenant.Rules = []string{} },
		"callback that refuses": func(cfg *config.Config) {
			cfg.Rooms.Tenant.Rules = []string{"callback"}
			cfg.Rooms.Authorization.Callback.URL, cfg.Rooms.Authorization.Callback.Secret = refusing.URL, callbackSecret
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := shared(t, standin.Options{}, func(cfg *config.Config) {
				rules(cfg)
				cfg.Auth.Credentials = append(cfg.Auth.Credentials, "event")
			})
			member := w.as(anaID)
			if name == "membership" {
				member.must("join_distributor")
			}
			outside := tokenOfTenant(t, doraID, harbour)

			dora := connect(t, w.address, map[string]string{"token": outside})
			learnsNothing(t, "an outsider", dora)

			late := connect(t, w.address, nil)
			late.must("authenticate", map[string]string{"token": outside})
			learnsNothing(t, "an outsider who authenticates by an event", late)

			renewed := w.as(doraID)
			renewed.must("access_token", map[string]string{"token": outside})
			learnsNothing(t, "an outsider whose new token names the tenant", renewed)

			renewed.conn.Close()
			back := connect(t, w.address,
				map[string]string{"token": outside, "pid": renewed.pid, "offset": renewed.offset})
			learnsNothing(t, "an outsider who is recovered", back)

			if present := (house{w.bridge}).Present()[harbour]; strings.Contains(fmt.Sprint(present), doraID) {
				t.Errorf("Realtime is told that %v are online", present)
			}
			if name != "membership" {
				learnsNothing(t, "nobody may enter", member)
				return
			}
			ben := w.as(benID)
			for member.event("user_online")["userId"] != benID {
			}
			ben.reads(anaID)
			member.neverToldOf(doraID)
			ben.reads(anaID)
		})
	}
}

func TestATokenThatNamesATenantCountsForNothingAtOtherNodes(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	node := func(cfg *config.Config) {
		byMembership(cfg)
		cfg.Cluster.Redis, cfg.Cluster.Lease, cfg.Presence.Grace = config.Secret(r.URL()), time.Second, time.Minute
	}
	here, there := newWorld(t, node), newWorld(t, node)
	both := func() bool { return peers(here.bridge) == 1 && peers(there.bridge) == 1 }
	here.becomes("see the other node", both)
	ana := there.as(anaID)
	ana.must("join_distributor")
	dora := connect(t, here.address, map[string]string{"token": tokenOfTenant(t, doraID, harbour)})
	learnsNothing(t, "an outsider at another node", dora)
	ben := here.as(benID)
	for ana.event("user_online")["userId"] != benID {
	}
	ana.neverToldOf(doraID)

	// Who loses the right is gone at all nodes at once, without the grace that a reload has, and
	// isn't listed as a member who left.
	here.rest("PATCH", "users?id=eq."+benID, `{"distributor_id":"`+alpine+`"}`)
	here.bridge.rechecker.RulesChanged()
	ana.toldGone(benID)
	ana.neverToldOf(benID)
	ben.sync()
}

func TestAMemberWhoIsNoneAnyMoreNeitherReadsPresenceNorIsShown(t *testing.T) {
	t.Parallel()
	for name, joins := range map[string]bool{"who joined": true, "who only connected": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(cfg *config.Config) {
				byMembership(cfg)
				cfg.Rooms.Authorization.RecheckEvery, cfg.Rooms.Authorization.RecheckRate = 100*time.Millisecond, 1000
				cfg.Presence.Grace = time.Minute
			})
			ana := w.as(anaID)
			ana.must("join_distributor")
			ben := w.as(benID)
			if joins {
				ben.must("join_distributor")
			}
			for ana.event("user_online")["userId"] != benID {
			}
			ben.reads(anaID)

			w.rest("PATCH", "users?id=eq."+benID, `{"distributor_id":"`+alpine+`"}`)
			ana.toldGone(benID)
			ben.sync()
			if ben.heard("user_offline") {
				t.Error("a former member was told how it left")
			}
			ben.held = nil
			learnsNothing(t, "a former member", ben)
			carla := w.as(carlaID)
			for ana.event("user_online")["userId"] != carlaID {
			}
			carla.sync()
			ana.held = nil
			ana.neverToldOf(benID)
			learnsNothing(t, "a former member", ben)

			// And is one again.
			w.rest("PATCH", "users?id=eq."+benID, `{"distributor_id":"`+harbour+`"}`)
			for ana.event("user_online")["userId"] != benID {
			}
			ben.reads(anaID)
		})
	}
}

func TestAMemberIsPresentOnceItCanBeAskedWhetherHeIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { byMembership(cfg); cfg.Supabase.RequestTimeout = 5 * time.Second })
	ana := w.as(anaID)
	ana.must("join_distributor")

	// Connecting doesn't wait for the answer, however long it takes.
	h := w.hold(func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/users") && strings.Contains(r.URL.RawQuery, benID)
	})
	ben := w.as(benID)
	defer h.release()
	w.wait("the question about ben", h.reached)
	ben.sync()
	ben.must("join_conversation", bakery)
	ana.neverToldOf(benID)
	h.release()
	for ana.event("user_online")["userId"] != benID {
	}

	// Who has gone meanwhile is not shown for ever.
	h = w.hold(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/users") })
	defer h.release()
	carla := w.as(carlaID)
	w.wait("the question about carla", h.reached)
	carla.conn.Close()
	w.becomes("see that she is gone", func() bool { return !w.bridge.guard.users.Full(carlaID, 1) })
	h.release()
	<-h.answered
	w.as(benID).must("join_distributor")
	ana.neverToldOf(carlaID)
}
