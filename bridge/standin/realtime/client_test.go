package realtime_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/supabridge/supabridge/phoenix"
	"github.com/supabridge/supabridge/phoenix/phxserver"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// oddValues are texts that filters have to quote.
var oddValues = []string{
	"plain", "he,llo", `say "egg"`, `back\slash`, "(in parentheses)", "in.(a,b)", " outer space ", `"`, `\`, ",", "eq.x", "ünï😀", "not.eq.x", `a"b,c\"d`,
}

// TestFiltersOfTheClientMeanTheSameToTheServer has the client write filters with odd
// values, and checks which bindings a row with such a value reaches.
func TestFiltersOfTheClientMeanTheSameToTheServer(t *testing.T) {
	s, web := inbox(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := phoenix.NewClient(web.URL, phoenix.Options{APIKey: s.ServiceKey()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(ctx)
	var bindings []phoenix.Binding
	for _, v := range oddValues {
		for _, f := range []phoenix.Filter{
			phoenix.Eq("content", v),
			phoenix.And(phoenix.In("content", "none of them", v), phoenix.Not(phoenix.IsDistinct("content", v))),
		} {
			bindings = append(bindings, phoenix.Binding{Event: phoenix.Insert, Schema: "public", Table: "messages", Filter: f})
		}
	}
	channel, err := client.Channel("filters", phoenix.ChannelOptions{Changes: bindings})
	if err != nil {
		t.Fatal(err)
	}
	if err := channel.Subscribe(ctx); err != nil {
		t.Fatal(err)
	}
	next := 0
	for ev := range channel.Events() {
		switch ev := ev.(type) {
		case *phoenix.Live:
			if err := s.DB().Tx(func(tx *sql.Tx) error {
				for _, v := range oddValues {
					if _, err := tx.Insert("messages", map[string]any{"conversation_id": "c1000000-0000-4000-8000-000000000001", "content": v}); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		case *phoenix.Change:
			got := slices.Sorted(slices.Values(ev.Bindings))
			if want := []int{2 * next, 2*next + 1}; !slices.Equal(got, want) {
				t.Errorf("a row with %q reached bindings %v (%s), want %v", oddValues[next], got, ev.Record, want)
			}
			if next++; next == len(oddValues) {
				return
			}
		case *phoenix.SystemError:
			t.Fatalf("%s", ev.Message)
		case *phoenix.Closed:
			t.Fatalf("closed: %v", ev.Err)
		}
	}
}

// TestClientFindsItsWayBackFromOutages has the client live through faults, and checks
// that it says where rows may be missing.
func TestClientFindsItsWayBackFromOutages(t *testing.T) {
	s, web := inbox(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, version := range []phoenix.Version{phoenix.V1, phoenix.V2} {
		client, err := phoenix.NewClient(web.URL, phoenix.Options{
			APIKey: s.ServiceKey(), Version: version, Backoff: phoenix.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		channel, err := client.Channel("outages", phoenix.ChannelOptions{
			Changes: []phoenix.Binding{{Event: phoenix.All, Schema: "public", Table: "messages"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := channel.Subscribe(ctx); err != nil {
			t.Fatal(err)
		}
		faults := []phxserver.Fault{
			{Action: phxserver.Cut},
			{Action: phxserver.Close, Code: 1000},
			{Action: phxserver.Disconnect},
			{Action: phxserver.Crash},
			{Action: phxserver.Leave},
			{Action: phxserver.Resubscribe},
		}
		var heard []string
		injected := 0
		for ev := range channel.Events() {
			switch ev := ev.(type) {
			case *phoenix.Retrying:
				if ev.Delay > time.Minute {
					t.Fatalf("%s: after %v nothing more: %v", version, heard, ev.Err)
				}
			case *phoenix.Gap:
				heard = append(heard, string(ev.Reason))
			case *phoenix.Live:
				if injected == len(faults) {
					go client.Close(ctx) // which ends the events
					continue
				}
				if _, err := s.Realtime().Inject(faults[injected]); err != nil {
					t.Fatal(err)
				}
				injected++
			}
		}
		want := []string{"reconnect", "reconnect", "reconnect", "rejoin", "rejoin", "resubscribed"}
		if fmt.Sprint(heard) != fmt.Sprint(want) {
			t.Errorf("%s: gaps %v, want %v", version, heard, want)
		}
	}
}
