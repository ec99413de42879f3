package realtime_test

import (
	"encoding/json"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/supabridge/supabridge/phoenix"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/standin/realtime"
	"github.com/supabridge/supabridge/bridge/standin/sql"
)

func TestATriggerBroadcastsEachRowAtOnceWithTheOldOne(t *testing.T) {
	s, err := standin.New(standin.Options{Broadcast: map[string]string{"distributors": "app:rows"}, Realtime: realtime.Options{}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	defer s.Close(t.Context())
	client, err := phoenix.NewClient(web.URL, phoenix.Options{APIKey: s.ServiceKey()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(t.Context())
	ch, err := client.Channel("app:rows", phoenix.ChannelOptions{Private: true, Broadcast: phoenix.BroadcastOptions{ReplicationReady: true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := func() phoenix.Event {
		timeout := time.NewTimer(10 * time.Second)
		defer timeout.Stop()
		select {
		case e := <-ch.Events():
			return e
		case <-timeout.C:
			t.Fatal("nothing came")
			return nil
		}
	}
	for {
		if _, live := next().(*phoenix.Live); live {
			break
		}
	}
	const id = "d9000000-0000-4000-8000-000000000009"
	if err := s.DB().Tx(func(tx *sql.Tx) error {
		_, err := tx.Insert("distributors", map[string]any{"id": id, "name": "One"})
		if err == nil {
			_, err = tx.Update("distributors", map[string]any{"id": id}, map[string]any{"name": "Two"})
		}
		if err == nil {
			_, err = tx.Delete("distributors", map[string]any{"id": id})
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	name := func(record json.RawMessage) string {
		var r struct{ Name string }
		if record != nil && json.Unmarshal(record, &r) != nil {
			t.Errorf("record %s", record)
		}
		return r.Name
	}
	for _, want := range []struct {
		op       phoenix.EventType
		row, old string
	}{{phoenix.Insert, "One", ""}, {phoenix.Update, "Two", "One"}, {phoenix.Delete, "", "Two"}} {
		m, ok := next().(*phoenix.BroadcastMessage)
		if !ok || m.ID == "" {
			t.Fatalf("%+v is no broadcast from the database", m)
		}
		c, ok := m.Change()
		if !ok || c.Type != want.op || c.Schema != "public" || c.Table != "distributors" || name(c.Record) != want.row || name(c.OldRecord) != want.old {
			t.Errorf("%s, want %+v", m.Payload, want)
		}
	}
}

func TestABroadcastOfATableThatIsNotThereIsRefused(t *testing.T) {
	if _, err := standin.New(standin.Options{Broadcast: map[string]string{"nowhere": "x"}}); err == nil {
		t.Error("it was accepted")
	}
}
