package bridge

import (
	"fmt"
	"strings"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/admin"
)

// newAdmin lets Socket.IO's Admin UI connect; nil where that is off.
func (b *Bridge) newAdmin() (*admin.Admin, error) {
	c := b.cfg().SocketIO.Admin
	if c.Username == "" {
		return nil, nil
	}
	allow := make([]admin.Action, len(c.Allow))
	for i, name := range c.Allow {
		allow[i] = admin.Action(name)
	}
	a, err := admin.Instrument(b.io, admin.Options{
		Username: c.Username, PasswordHash: c.PasswordHash.Reveal(), CountsOnly: c.Mode == "production", Bodies: c.Bodies,
		Allow:    allow,
		Data:     func(s *socketio.Socket) any { return shownOf(s) },
		HideRoom: func(room string) bool { return strings.HasPrefix(room, "\x00") },
		Acted: func(d admin.Deed) {
			b.log.Warn().
				Str("action", string(d.Action)).
				Str("namespace", d.Namespace).
				Str("filter", d.Filter).
				Str("what", d.What).
				Str("address", d.Address).
				Msg("admin acted")
		},
		Refused: func(address string, err error) {
			b.metrics.refused.WithLabelValues("admin").Inc()
			b.log.Warn().Err(err).Str("address", address).Msg("admin refused")
		},
	})
	if err != nil {
		return nil, fmt.Errorf("bridge: socketio.admin: %w", err)
	}
	return a, nil
}

// shownOf is what an admin sees of whose socket it is.
func shownOf(s *socketio.Socket) map[string]any {
	shown := map[string]any{}
	var who *auth.Identity
	switch data := s.Data().(type) {
	case *client:
		who = data.identity.Load()
		shown["dialect"] = vocabulary.Style(data.style.Load()).String()
	case *admission: // it is just being let in
		who = data.who
	}
	if who != nil {
		shown["user"], shown["name"], shown["tenant"], shown["verified"] = who.UserID, who.Name, who.Tenant, who.Verified
	}
	return shown
}
