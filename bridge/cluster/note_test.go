package cluster_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/cluster"
)

func TestNotesOfAnotherVersionAreTakenForWhatTheyHave(t *testing.T) {
	t.Parallel()
	b := newNode(t, options(nowhere))
	// As the first version with notes wrote them, and one that has more than this.
	b.Receive(`{"node":"old","kind":"hello","serial":0}`)
	b.Receive(fmt.Sprintf(`{"node":"old","to":%q,"kind":"whole","tenant":"","all":[{"tenant":"t","socket":"1","user":"u","name":"U"}],"last":true,"serial":4}`, b.Node()))
	b.Receive(`{"node":"old","kind":"enter","tenant":"t","socket":"2","user":"v","serial":5,"mood":{"new":["field"]}}`)
	b.Receive(`{"node":"old","kind":"a kind to come","serial":5}`)
	b.Receive(`{"node":"old","kind":"beat","serial":5}`)
	if got := b.present(); got != "[u v]" {
		t.Errorf("present are %v, want u and v", got)
	}
	if !b.Knows("old") {
		t.Error("the node of the other version is asked again and again")
	}
	b.Receive(`{"node":"old","kind":"bye","serial":0}`)
	if n := b.Status().Peers; n != 0 {
		t.Errorf("%d alive", n)
	}
	if got := b.present(); got != "[]" {
		t.Errorf("present are %v once the node left", got)
	}
}

func TestNotesAboutWhatIsTurnedOffHereAreLeft(t *testing.T) {
	t.Parallel()
	opts := options(nowhere)
	opts.Presence, opts.Rooms = false, false
	b := newNode(t, opts)
	for _, kind := range []string{"enter", "leave", "whole", "rooms", "rooms_whole", "mark", "offer"} {
		b.Receive(fmt.Sprintf(`{"node":"n","kind":%q,"conversation":"c","tenant":"t","socket":"s","user":"u","serial":1,"rooms_serial":1,"last":true,"occupied":["r"]}`, kind))
		b.Receive(fmt.Sprintf(`{"node":"n","to":%q,"kind":%q,"all":[{"tenant":"t","socket":"s","user":"u"}],"occupied":["r"],"last":true}`, b.Node(), kind))
	}
	if got := b.present(); got != "[]" {
		t.Errorf("present are %v", got)
	}
	b.RemoteRooms(func(room string) { t.Errorf("room %s is occupied", room) })
}

func TestWhatIsKnownOfOtherNodesIsBounded(t *testing.T) {
	t.Parallel()
	b := newNode(t, options(nowhere))
	for i := range cluster.MaxPeers + 10 {
		b.Receive(fmt.Sprintf(`{"node":"n%d","kind":"beat"}`, i))
	}
	if n := b.Status().Peers; n != cluster.MaxPeers {
		t.Errorf("%d nodes are known, want %d", n, cluster.MaxPeers)
	}
	long := strings.Repeat("c", cluster.MaxNoted+1)
	b.Receive(fmt.Sprintf(`{"node":"n0","kind":"typing","conversation":%q,"user":"u"}`, long))
	if len(b.lines) > 0 {
		t.Errorf("a note that is too long was taken: %.60q", b.lines)
	}
	for i := range 3 {
		b.Receive(fmt.Sprintf(`{"node":"n0","to":%q,"kind":"whole","part":%d,"all":[{"tenant":%q}]}`, b.Node(), i, long))
	}
	if n := b.Parts("n0"); n > 0 {
		t.Errorf("%d attendances are kept that are too long", n)
	}
}

// FuzzNotesOfAnybody has nodes hear what anybody may publish in Redis.
func FuzzNotesOfAnybody(f *testing.F) {
	b := newNode(f, options(nowhere))
	for _, kind := range []string{"typing", "stopped", "enter", "leave", "read", "disconnect", "hello", "beat", "ask", "whole", "bye", "mark", "rooms", "rooms_ask", "rooms_whole"} {
		f.Add(fmt.Sprintf(`{"node":"n","kind":%q,"conversation":"c","spelled":"c","messages":["m"],"whom":{"user":"u"},"tenant":"t","socket":"s","user":"u","name":"U","home":"t","word":"busy",`+
			`"serial":1,"all":[{"tenant":"t","socket":"s","user":"u"}],"last":true,"rooms_serial":1,"occupied":["r"],"vacated":["r"],"leads":true}`, kind))
		f.Add(fmt.Sprintf(`{"node":"n","to":%q,"kind":%q,"part":0,"all":[{}],"last":false}`, b.Node(), kind))
		f.Add(fmt.Sprintf(`{"node":"n","kind":%q}`, kind))
	}
	f.Add(`{"events":[{"rooms":["a"],"users":["u"],"except":["b"]}]}`)
	f.Add(`{"whom":{"tenant":"t"}}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return // does not come so far
		}
		b.Receive(text)
		b.AnswerCount(text)
		if beyond := b.Unbounded(); beyond != "" {
			t.Error(beyond)
		}
	})
}
