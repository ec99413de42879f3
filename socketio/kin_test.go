package socketio_test

import (
	"testing"

	"github.com/supabridge/supabridge/socketio"
)

func TestWhatExceptsKinGoesToOtherServersOnly(t *testing.T) {
	var b bus
	kin := [3]string{"kin", "kin", ""}
	var ios [3]*socketio.Server
	var clients [3]*client
	var ids [3]string
	for i := range ios {
		var url string
		ios[i], url = serve(t, socketio.Options{Adapter: b.node(), Kin: kin[i], Recovery: socketio.Recovery{Enabled: i == 1}})
		ios[i].OnConnection(func(s *socketio.Socket) { s.Join("all") })
		clients[i], ids[i], _ = connect(t, url, "")
		syncable(ios[i])
		clients[i].sync()
	}
	others := ios[0].To("all").Except("kin")
	if err := others.Emit("to others"); err != nil {
		t.Fatal(err)
	}
	clients[2].expect(`42["to others"]`)
	if got, err := others.Fetch(t.Context()); err != nil || len(got) != 1 || got[0].ID != ids[2] {
		t.Errorf("fetched %+v, %v", got, err)
	}
	if err := others.Disconnect(false); err != nil {
		t.Fatal(err)
	}
	clients[2].expect("41")
	for _, c := range clients[:2] {
		c.sync() // nothing came before
	}
}
