package bridge

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

// lonely is a bridge of a cluster that reaches neither Redis nor Supabase.
func lonely(tb testing.TB, change func(*config.Config)) *Bridge {
	tb.Helper()
	cfg := config.Default()
	cfg.Supabase.URL, cfg.Supabase.ServiceRoleKey, cfg.Supabase.JWTSecret = "http://127.0.0.1:1", "key", testSecret
	cfg.Cluster.Redis = "redis://127.0.0.1:1"
	change(cfg)
	b, err := New(cfg, zerolog.Nop())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(b.Close)
	return b
}

// noted has a bridge hear a note.
func noted(b *Bridge, text string) {
	b.cluster.heard(&socketio.Event{Name: serverSide, Args: []json.RawMessage{json.RawMessage(text)}})
}

func TestNotesOfAnotherVersionAreTakenForWhatTheyHave(t *testing.T) {
	t.Parallel()
	b := lonely(t, func(*config.Config) {})
	// As the first version with notes wrote them, and one that has more than this.
	noted(b, `{"node":"old","kind":"hello","serial":0}`)
	noted(b, fmt.Sprintf(`{"node":"old","to":%q,"kind":"whole","tenant":"","all":[{"tenant":"t","socket":"1","user":"u","name":"U"}],"last":true,"serial":4}`, b.cluster.node))
	noted(b, `{"node":"old","kind":"enter","tenant":"t","socket":"2","user":"v","serial":5,"mood":{"new":["field"]}}`)
	noted(b, `{"node":"old","kind":"a kind to come","serial":5}`)
	noted(b, `{"node":"old","kind":"beat","serial":5}`)
	if got := b.presence.Users("t"); fmt.Sprint(got) != "[u v]" {
		t.Errorf("present are %v, want u and v", got)
	}
	if !b.cluster.peers["old"].known {
		t.Error("the node of the other version is asked again and again")
	}
	noted(b, `{"node":"old","kind":"bye","serial":0}`)
	if n := b.cluster.alive(); n != 0 {
		t.Errorf("%d alive", n)
	}
}

func TestNotesAboutWhatIsTurnedOffHereAreLeft(t *testing.T) {
	t.Parallel()
	b := lonely(t, func(cfg *config.Config) { cfg.Typing.Enabled, cfg.Presence.Enabled = false, false })
	for _, kind := range []string{"typing", "stopped", "enter", "leave", "read", "disconnect", "whole", "rooms", "rooms_whole", "mark"} {
		noted(b, fmt.Sprintf(`{"node":"n","kind":%q,"conversation":"c","tenant":"t","socket":"s","user":"u","serial":1,"rooms_serial":1,"last":true}`, kind))
	}
}

func TestWhatIsKnownOfOtherNodesIsBounded(t *testing.T) {
	t.Parallel()
	b := lonely(t, func(*config.Config) {})
	for i := range maxPeers + 10 {
		noted(b, fmt.Sprintf(`{"node":"n%d","kind":"beat"}`, i))
	}
	if n := len(b.cluster.peers); n != maxPeers {
		t.Errorf("%d nodes are known, want %d", n, maxPeers)
	}
	noted(b, fmt.Sprintf(`{"node":"n0","kind":"typing","conversation":%q,"user":"u"}`, strings.Repeat("c", maxNoted+1)))
	if n := b.typing.Writers(); n > 0 {
		t.Errorf("%d type, by a note that is too long", n)
	}
	p := b.cluster.peers["n0"]
	for i := range 3 {
		noted(b, fmt.Sprintf(`{"node":"n0","to":%q,"kind":"whole","part":%d,"all":[{"tenant":%q}]}`, b.cluster.node, i, strings.Repeat("t", maxNoted+1)))
	}
	if len(p.whole) > 0 {
		t.Errorf("%d attendances are kept that are too long", len(p.whole))
	}
}

// FuzzNotesOfAnybody has nodes hear what anybody may publish in Redis.
func FuzzNotesOfAnybody(f *testing.F) {
	b := lonely(f, func(cfg *config.Config) {
		cfg.Webhooks.Outgoing.URL, cfg.Webhooks.Outgoing.Secret = "http://127.0.0.1:1", "a secret of sixteen bytes"
		cfg.Webhooks.Outgoing.Events = []string{"room_occupied", "user_online"}
		cfg.Webhooks.Outbox.Path = f.TempDir() + "/outbox"
	})
	for _, kind := range []string{"typing", "stopped", "enter", "leave", "read", "disconnect", "hello", "beat", "ask", "whole", "bye", "mark", "rooms", "rooms_ask", "rooms_whole"} {
		f.Add(fmt.Sprintf(`{"node":"n","kind":%q,"conversation":"c","spelled":"c","messages":["m"],"whom":{"user":"u"},"tenant":"t","socket":"s","user":"u","name":"U","home":"t","word":"busy",`+
			`"serial":1,"all":[{"tenant":"t","socket":"s","user":"u"}],"last":true,"rooms_serial":1,"occupied":["r"],"vacated":["r"],"leads":true}`, kind))
		f.Add(fmt.Sprintf(`{"node":"n","to":%q,"kind":%q,"part":0,"all":[{}],"last":false}`, b.cluster.node, kind))
		f.Add(fmt.Sprintf(`{"node":"n","kind":%q}`, kind))
	}
	f.Add(`{"events":[{"rooms":["a"],"users":["u"],"except":["b"]}]}`)
	f.Add(`{"whom":{"tenant":"t"}}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return // does not come so far
		}
		noted(b, text)
		b.cluster.count(&socketio.Event{Name: countEvent, Args: []json.RawMessage{json.RawMessage(text)}})
		b.cluster.mu.Lock()
		defer b.cluster.mu.Unlock()
		for node, p := range b.cluster.peers {
			if len(node) > maxNoted || len(p.there) > maxThere || len(p.rooms.occupied) > maxRoomsOf {
				t.Errorf("of a node there are %d attendances and %d rooms", len(p.there), len(p.rooms.occupied))
			}
		}
		if len(b.cluster.peers) > maxPeers {
			t.Errorf("%d nodes", len(b.cluster.peers))
		}
	})
}
