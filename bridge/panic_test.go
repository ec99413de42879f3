package bridge

import (
	"errors"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

// clientOf gives the only client of a bridge.
func (w *world) clientOf(user string) *client {
	w.t.Helper()
	for _, space := range w.bridge.spaces {
		for _, s := range space.Local().Sockets() {
			if c, ok := s.Data().(*client); ok && c.identity.Load().UserID == user {
				return c
			}
		}
	}
	w.t.Fatalf("%s is not connected", user)
	return nil
}

func TestADefectOfOneSocketIsThatSocketsFailure(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		during string
		inject func(w *world, ana *browser) // a defect, and what brings it to light
	}{
		{"event", func(w *world, ana *browser) {
			in := &w.clientOf(anaID).conversations
			count := in.count
			in.count = func(int) { in.count = count; panic("defect") }
			ana.emit("join_conversation", bakery)
		}},
		{"disconnect", func(w *world, ana *browser) {
			w.clientOf(anaID).expiry = nil
			ana.conn.Close()
		}},
	} {
		t.Run(test.during, func(t *testing.T) {
			w := newWorld(t, func(cfg *config.Config) { cfg.Limits.User.Connections = 1 })
			ana, ben := w.as(anaID), w.as(benID)
			ana.sync()
			ben.must("join_conversation", bakery)
			test.inject(w, ana)
			w.awaitMetric(`supabridge_panics_total{during="` + test.during + `"} 1`)
			w.awaitMetric("supabridge_users_connected 1") // the socket is closed, and nothing of it is left
			if log := w.log.String(); !strings.Contains(log, `"stack"`) || !strings.Contains(log, "a defect was recovered from") {
				t.Errorf("the log says nothing of it: %s", log)
			}
			w.write(bakery, "hello")
			ben.event("new_message")
			w.as(anaID).must("join_conversation", bakery)
		})
	}
}

func TestADefectAtTheHandshakeRefusesOneClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var refused *socketio.ConnectError
	if err := w.bridge.admit(nil); !errors.As(err, &refused) {
		t.Errorf("a handshake that failed ends in %v, want a refusal", err)
	}
	w.counts(`supabridge_panics_total{during="handshake"}`, "1")
	w.as(anaID).must("join_conversation", bakery)
}

func TestADefectWhileAClientIsTakenUpClosesItsSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	ana.sync()
	c := w.clientOf(anaID)
	s := c.socket
	s.SetData("not an admission")
	w.bridge.welcome(s)
	w.counts(`supabridge_panics_total{during="connect"}`, "1")
	w.becomes("close the socket", func() bool { return !s.Connected() })
}

func TestADefectInWhatANodeSendsIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.bridge.clusterOptions().Panicked("note", "defect")
	w.counts(`supabridge_panics_total{during="note"}`, "1")
}
