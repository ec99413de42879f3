package bridge

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/presence"
	"github.com/supabridge/supabridge/bridge/realtimeshare"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix"
)

// newSharer makes what shares typing and presence with clients of Realtime; nil where the
// configuration shares nothing.
func (b *Bridge) newSharer() *realtimeshare.Sharer {
	c := b.cfg().Realtime
	lane := func(ways, topic string, private, on bool) realtimeshare.Lane {
		return realtimeshare.Lane{
			In:      on && (ways == "in" || ways == "both"),
			Out:     on && (ways == "out" || ways == "both"),
			Topic:   topic,
			Private: private,
		}
	}
	types := lane(c.Typing.Share, c.Typing.Topic, c.Typing.Private, b.cfg().Typing.Enabled)
	attends := lane(c.Presence.Share, c.Presence.Topic, c.Presence.Private, b.presence != nil)
	if !types.In && !types.Out && !attends.In && !attends.Out {
		return nil
	}
	return realtimeshare.New(realtimeshare.Options{
		Typing: types, Event: c.Typing.Event, StopEvent: c.Typing.StopEvent, Presence: attends, Seats: c.Presence.Seats,
		MaxChannels: c.MaxChannels, PerSecond: c.BroadcastsPerSecond, Linger: c.Linger,
		Expiry: func() time.Duration { return b.cfg().Typing.Timeout },
		Dial:   func() (*phoenix.Client, error) { return dial(b.cfg().Supabase, b.metrics.upstream.Hooks()) },
		House:  house{b}, Log: b.log, Registry: b.metrics.register,
	})
}

// overRealtime begins the keys of those who are no sockets of this bridge's.
const overRealtime = "realtime:"

// house is the bridge as its sharer sees it.
type house struct{ b *Bridge }

func (h house) Occupied() (conversations, tenants []string) {
	inside, above := make(map[string]bool), make(map[string]bool)
	rooms := h.b.cfg().Rooms
	for _, space := range h.b.spaces {
		for room := range space.Rooms() {
			if id, ok := roomID(rooms.Conversation, room); ok {
				inside[id] = true
			} else if id, ok := roomID(rooms.Tenant, room); ok {
				above[id] = true
			}
		}
	}
	return slices.Collect(maps.Keys(inside)), slices.Collect(maps.Keys(above))
}

// roomID takes the id out of a room's name.
func roomID(kind config.Room, name string) (string, bool) {
	before, after, _ := strings.Cut(kind.Name, "{id}")
	id, ok := strings.CutPrefix(name, before)
	if ok {
		id, ok = strings.CutSuffix(id, after)
	}
	return id, ok && id != ""
}

func (h house) Present() map[string][]realtimeshare.User {
	if h.b.presence == nil {
		return nil
	}
	present := make(map[string][]realtimeshare.User)
	for tenant, users := range h.b.presence.LocalUsers() {
		for _, p := range users {
			present[tenant] = append(present[tenant], realtimeshare.User{ID: p.Who.UserID, Name: p.Who.Name, Status: p.State})
		}
	}
	return present
}

func (h house) TenantOf(ctx context.Context, conversation string) (string, error) {
	return h.b.router.tenants.of(ctx, conversation)
}

func (h house) Typing(conversation string, user realtimeshare.User, on bool) {
	who, key := elsewhere(user), overRealtime+user.ID
	if on {
		h.b.typing.Start(vocabulary.NewID(conversation), key, who, false)
	} else {
		h.b.typing.Stop(conversation, key, who)
	}
}

func (h house) Enter(tenant, key string, user realtimeshare.User) {
	if user.Status == "" {
		h.b.presence.Enter(tenant, overRealtime+key, presence.Realtime, elsewhere(user))
		return
	}
	h.b.presence.SetStatus(tenant, overRealtime+key, presence.Realtime, elsewhere(user), user.Status)
}

func (h house) Leave(tenant, key string, user realtimeshare.User) {
	h.b.presence.Leave(tenant, overRealtime+key, elsewhere(user))
}

// elsewhere is a user who is known by what clients of Realtime say.
func elsewhere(user realtimeshare.User) *auth.Identity {
	return &auth.Identity{UserID: user.ID, Name: user.Name}
}
