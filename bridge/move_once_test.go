package bridge

import (
	"net/http"
	"strings"
	"testing"
)

// A socket in the tenant's room and in the conversation that a message moves to is in two rooms
// that are told of it differently.
func TestAMessageThatMovesWithinATenantIsToldOncePerSocket(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"in the room", "entering it"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			id := w.write(bakery, "hello")
			seen := w.rest("GET", "messages?id=eq."+w.write(cafe, "seen"), "")[0]
			ben, ana := w.as(benID), w.as(anaID)
			ben.must("join_distributor")
			ana.must("join_distributor")
			w.settle(ana, bakery)
			move := func() {
				w.rest("PATCH", "messages?id=eq."+id, `{"conversation_id":"`+cafe+`","content":"moved","status":"READ"}`)
			}
			if way == "in the room" {
				ben.must("join_conversation", cafe)
				move()
			} else {
				h := w.hold(func(r *http.Request) bool {
					return r.URL.Path == "/rest/v1/messages" && r.URL.Query().Get("conversation_id") == "eq."+cafe
				})
				joined := make(chan struct{})
				go func() {
					defer close(joined)
					ben.must("join_conversation", map[string]any{"conversationId": cafe, "since": seen})
				}()
				<-h.reached
				move()
				ana.event("message_updated") // it has been told, to all but Ben
				close(h.open)
				<-joined
			}
			last := w.write(cafe, "last")
			ben.await("the last message", func(frame string) bool { return strings.Contains(frame, last) })
			ben.sync()
			if way == "in the room" {
				ana.event("message_updated")
			}
			ana.sync()
			of := func(b *browser) int { return strings.Count(strings.Join(b.held, " "), `",{"id":"`+id) }
			if of(ben) != 1 {
				t.Errorf("the row came %d times, want once: %q", of(ben), ben.held)
			}
			if of(ana) != 0 || ana.heard("message_updated") {
				t.Errorf("in the tenant's room alone it came more than once: %q", ana.held)
			}
		})
	}
}
