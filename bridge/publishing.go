package bridge

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/supabridge/supabridge/bridge/publish"
)

// mountPublishing puts the routes for the application's server on the mux; none without a secret.
func (b *Bridge) mountPublishing(mux *http.ServeMux) {
	c := b.cfg().Publish
	if c.Secret == "" {
		return
	}
	h := publish.New(publish.Options{Secret: []byte(c.Secret.Reveal()), Window: c.Window, IdempotencyFor: c.IdempotencyFor, MaxBody: int64(c.MaxBody), MaxBatch: c.MaxBatch}, sender{b})
	mux.HandleFunc("POST "+c.Path, h.Publish)
	mux.HandleFunc("POST "+c.DisconnectPath, h.Disconnect)
}

// sender is what a publisher's requests act on: the sockets of all namespaces.
type sender struct{ b *Bridge }

// Send sends an event once to every socket in any of its rooms or of its users, at all nodes. Counted are those of this node.
func (s sender) Send(e publish.Event) (reached int, err error) {
	rooms := slices.Clone(e.Rooms)
	for _, user := range e.Users {
		rooms = append(rooms, userRoom(user))
	}
	for _, space := range s.b.spaces {
		target := space.To(rooms...).Except(e.Except...)
		reached += len(target.Local().Sockets())
		err = errors.Join(err, target.Emit(e.Name, e.Data))
	}
	return reached, err
}

// Disconnect closes connections, at all nodes. Clients come back by themselves, and are let in again if their token still is. Counted are those of this node.
func (s sender) Disconnect(whom publish.Whom) (reached int) {
	if text, err := json.Marshal(whom); err == nil {
		s.b.cluster.tell(note{Kind: noteDisconnect, Whom: text})
	}
	return s.disconnectHere(whom)
}

// disconnectNoted does it for another node.
func (b *Bridge) disconnectNoted(text json.RawMessage) {
	var whom publish.Whom
	if json.Unmarshal(text, &whom) == nil && whom != (publish.Whom{}) {
		sender{b}.disconnectHere(whom)
	}
}

func (s sender) disconnectHere(whom publish.Whom) (reached int) {
	for _, space := range s.b.spaces {
		for _, socket := range space.Except().Local().Sockets() {
			c, ok := socket.Data().(*client)
			if !ok || !c.is(whom) {
				continue
			}
			reached++
			socket.CloseConnection()
		}
	}
	s.b.log.Info().Int("sockets", reached).Msg("disconnected by the application")
	return reached
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
