package phoenix

import (
	"context"
	"testing"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

func TestFollowSubscribesAndLeaves(t *testing.T) {
	for name, end := range map[string]func(stop func()) (leaveLoop bool){
		"by break":   func(func()) bool { return true },
		"by context": func(stop func()) bool { stop(); return false },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, V2)
			c := s.client(quick())
			ch, err := c.Channel("room", ChannelOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			done := make(chan bool, 1)
			go func() {
				live := false
				for ev := range ch.Follow(ctx) {
					if _, ok := ev.(*Live); ok {
						live = true
						if end(stop) {
							break
						}
					}
				}
				done <- live
			}()
			p := s.accept()
			p.acceptJoin()
			p.reply(p.expect(wire.EventLeave), "ok", `{}`)
			if !<-done {
				t.Error("was never live")
			}
			if st := ch.Status(); st.Stage != StageClosed {
				t.Errorf("left as %s", st.Stage)
			}
			// A channel that has left has nothing to tell but that.
			for ev := range ch.Follow(t.Context()) {
				if _, ok := ev.(*Closed); !ok {
					t.Errorf("after the end: %T", ev)
				}
			}
		})
	}
}
