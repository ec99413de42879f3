package phoenix

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// drain reads what is queued, and names it: a change by its row's id.
func drain(t *testing.T, ch *Channel) []string {
	t.Helper()
	var got []string
	for len(ch.Events()) > 0 {
		switch ev := (<-ch.Events()).(type) {
		case *Change:
			row, err := DecodeRow[struct{ ID int }](ev.Record)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(row.ID))
		case *Gap:
			got = append(got, fmt.Sprintf("gap(%s, %d lost)", ev.Reason, ev.Lost))
		default:
			got = append(got, fmt.Sprintf("%T", ev)[len("*phoenix."):])
		}
	}
	return got
}

func TestConsumerThatFallsBehind(t *testing.T) {
	for _, tt := range []struct {
		policy      Overflow
		first, then string
	}{
		{OverflowDropNew, "[0 1 2 3 4 5 6 7]", "[gap(overflow, 12 lost) Live 20]"},
		{OverflowDropOld, "[gap(overflow, 14 lost) Live 14 15 16 17 18 19]", "[20]"},
		{OverflowFail, "[0 1 2 3 4 5 6 7 Closed]", "[]"},
	} {
		t.Run(fmt.Sprint(tt.policy), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *script, o Options) {
				lost := 0
				o.Hooks.EventsLost = func(_ string, n int) { lost += n }
				ch := s.channel(s.client(o), ChannelOptions{Changes: messages, Queue: 8, Overflow: tt.policy})
				p := s.accept()
				join := live(t, p, ch)
				for i := range 20 {
					p.insert(join.Topic, fmt.Sprintf(`{"id": %d}`, i), 100)
				}
				synctest.Wait()
				if got := fmt.Sprint(drain(t, ch)); got != tt.first {
					t.Errorf("queued %s, want %s", got, tt.first)
				}
				pass(time.Second)
				p.insert(join.Topic, `{"id": 20}`, 100)
				synctest.Wait()
				if got := fmt.Sprint(drain(t, ch)); got != tt.then {
					t.Errorf("then %s, want %s", got, tt.then)
				}
				if tt.policy == OverflowFail {
					if m := p.nextAny(); m.Event != wire.EventLeave {
						t.Errorf("client sent %s, want a leave", m.Event)
					}
					if err := ch.Wait(t.Context(), StageLive); !errors.Is(err, ErrClosed) {
						t.Errorf("Wait: %v", err)
					}
				}
			})
		})
	}
}

func TestConsumerThatFallsBehindLearnsTheStageOfNow(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		ch := s.channel(s.client(o), ChannelOptions{Changes: messages, Queue: 8})
		p := s.accept()
		join := live(t, p, ch)
		for i := range 9 {
			p.insert(join.Topic, fmt.Sprintf(`{"id": %d}`, i), 100)
		}
		synctest.Wait()
		p.ws.NetConn().Close()
		synctest.Wait()
		if got := fmt.Sprint(drain(t, ch)); got != "[0 1 2 3 4 5 6 7]" {
			t.Errorf("queued %s", got)
		}
		pass(resumeCheck)
		synctest.Wait()
		if got := fmt.Sprint(drain(t, ch)); got != "[Lost]" {
			t.Errorf("told %s, want that the join is lost", got)
		}
		p = s.accept()
		p.subscribed(p.acceptJoin())
		synctest.Wait()
		if got := fmt.Sprint(drain(t, ch)); got != "[Joined gap(reconnect, 1 lost) Live]" {
			t.Errorf("then %s", got)
		}
	})
}

func TestClosedIsDeliveredToAConsumerThatIsBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		c := s.client(o)
		ch := s.channel(c, ChannelOptions{Changes: messages, Queue: 8})
		p := s.accept()
		join := live(t, p, ch)
		for i := range 30 {
			p.insert(join.Topic, fmt.Sprintf(`{"id": %d}`, i), 100)
		}
		synctest.Wait()
		p.answerLeaves()
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(drain(t, ch)); got != "[0 1 2 3 4 5 6 7 gap(overflow, 22 lost) Closed]" {
			t.Errorf("got %s", got)
		}
	})
}
