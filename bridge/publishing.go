package bridge

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/socketio"
)

// mountPublishing puts the routes for the application's server on the mux; none without a secret.
func (b *Bridge) mountPublishing(mux *http.ServeMux) {
	c := b.cfg().Publish
	if c.Secret == "" {
		return
	}
	h := publish.New(publish.Options{
		Secret: []byte(c.Secret.Reveal()), Window: c.Window, IdempotencyFor: c.IdempotencyFor,
		MaxBody: int64(c.MaxBody), MaxBatch: c.MaxBatch, Bodies: b.guard.bodies,
	}, sender{b})
	mux.HandleFunc("POST "+c.Path, h.Publish)
	mux.HandleFunc("POST "+c.DisconnectPath, h.Disconnect)
}

// sender is what a publisher's requests act on: the sockets of all namespaces.
type sender struct{ b *Bridge }

// Send sends an event once to every socket in any of its rooms or of its users, at all nodes.
// Counted are those of this node.
func (s sender) Send(e publish.Event) (reached int, err error) {
	for _, target := range s.targets(e) {
		reached += len(target.Local().Sockets())
		err = errors.Join(err, target.Emit(e.Name, e.Data))
	}
	return reached, err
}

// targets chooses whom an event goes to, in each namespace.
func (s sender) targets(e publish.Event) []*socketio.Target {
	rooms := slices.Clone(e.Rooms)
	for _, user := range e.Users {
		rooms = append(rooms, emit.UserRoom(user))
	}
	targets := make([]*socketio.Target, len(s.b.spaces))
	for i, space := range s.b.spaces {
		targets[i] = space.To(rooms...).Except(e.Except...)
	}
	return targets
}

// Elsewhere asks the other bridges.
func (s sender) Elsewhere(ctx context.Context, events []publish.Event) (reached []int, missing int) {
	return s.b.cluster.Reached(ctx, events)
}

// Disconnect closes connections, at all nodes. Clients come back by themselves, and are let in
// again if their token still is.
func (s sender) Disconnect(ctx context.Context, whom publish.Whom) (reached, missing int) {
	reached, missing = s.b.cluster.Matching(ctx, whom)
	s.b.cluster.Disconnect(whom)
	return reached + s.disconnectHere(whom), missing
}

func (s sender) disconnectHere(whom publish.Whom) (reached int) {
	meant := s.meant(whom)
	for _, socket := range meant {
		socket.CloseConnection()
	}
	s.b.log.Info().Int("sockets", len(meant)).Msg("disconnected by the application")
	return len(meant)
}

// meant lists the sockets of this node that are to be disconnected.
func (s sender) meant(whom publish.Whom) []*socketio.Socket {
	var meant []*socketio.Socket
	for _, space := range s.b.spaces {
		for _, socket := range space.Except().Local().Sockets() {
			if c, ok := socket.Data().(*client); ok && c.is(whom) {
				meant = append(meant, socket)
			}
		}
	}
	return meant
}

// is tells whether a socket is meant.
func (c *client) is(whom publish.Whom) bool {
	switch {
	case whom.Socket != "":
		return c.socket.ID() == whom.Socket
	case whom.User != "":
		return c.identity.Load().UserID == whom.User
	}
	_, joined := c.tenants.get(whom.Tenant)
	return joined || c.identity.Load().Tenant == whom.Tenant && whom.Tenant != ""
}
