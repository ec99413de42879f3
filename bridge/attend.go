package bridge

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/cluster"
	"github.com/supabridge/supabridge/bridge/presence"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

// appear counts the socket towards its user's presence in a tenant, while it may be there; false
// where presence is off or nobody knows whose socket it is.
func (c *client) appear(tenant string) bool {
	if c.b.presence == nil || c.identity.Load().UserID == "" {
		return false
	}
	c.attending.Lock()
	defer c.attending.Unlock()
	if _, joined := c.tenants.get(tenant); joined || c.home.stored == tenant {
		c.attend(tenant) // else the right was lost meanwhile
	}
	return true
}

// attend is appear for a caller that holds attending and knows that the client may be there.
func (c *client) attend(tenant string) {
	who := c.identity.Load()
	if c.b.presence == nil || who.UserID == "" || c.home.gone {
		return
	}
	status := c.status.get()
	if status != "" {
		c.b.presence.SetStatus(tenant, c.key, presence.Local, who, status)
	} else {
		c.b.presence.Enter(tenant, c.key, presence.Local, who)
	}
	c.b.cluster.Enter(tenant, c.key, who, status)
}

// vanish takes appear back, unless the socket counts there by its token.
func (c *client) vanish(tenant string) {
	c.attending.Lock()
	defer c.attending.Unlock()
	if c.home.stored != tenant {
		c.part(tenant, c.who)
	}
}

// part takes a socket out of the count, whoever it is said to be. Where it never counted it does
// nothing. The caller holds attending.
func (c *client) part(tenant string, who *auth.Identity) {
	if c.b.presence == nil {
		return
	}
	leave, why := c.b.presence.Leave, cluster.Lost
	if c.goodbye.Load() {
		leave, why = c.b.presence.Goodbye, cluster.Goodbye
	}
	if leave(tenant, c.key, who) {
		c.b.cluster.Leave(tenant, c.key, who, why)
	}
}

// expel is part for a user who lost the right to be there: at once, and not remembered among those
// who left.
func (c *client) expel(tenant string, who *auth.Identity) {
	if c.b.presence != nil && c.b.presence.Revoke(tenant, c.key, who) {
		c.b.cluster.Leave(tenant, c.key, who, cluster.Revoked)
	}
}

// loseTenant ends the client's presence in a tenant that it may not be in any more, unless it has
// joined it anew meanwhile. It reports whether it counted there by its token.
func (c *client) loseTenant(id string) (wasHome bool) {
	c.attending.Lock()
	defer c.attending.Unlock()
	if _, joined := c.tenants.get(id); joined {
		return false
	}
	if wasHome = c.home.stored == id; wasHome {
		c.home.stored = ""
	}
	c.expel(id, c.identity.Load())
	return wasHome
}

// vanishAll ends the client's presence everywhere, for good.
func (c *client) vanishAll() {
	c.attending.Lock()
	defer c.attending.Unlock()
	c.home.gone = true
	for _, tenant := range c.attends() {
		c.part(tenant, c.who)
	}
}

// joinUser answers a join of a user's room, which their sockets are in without asking and others
// never.
func (c *client) joinUser(e *socketio.Event, user string) {
	if user != c.who.UserID {
		c.fail(e, failForbidden)
		return
	}
	c.succeed(e)
}

// setStatus notes how the user says to be, in every tenant where the socket counts.
func (c *client) setStatus(e *socketio.Event) {
	word, ok := c.b.words().Status(e.Name, e.Args, &c.speaker)
	if !ok {
		c.fail(e, failBadRequest)
		return
	}
	c.status.set(word)
	for _, tenant := range c.presentIn() {
		c.appear(tenant)
	}
	c.succeed(e, "status", word)
}

// present finds the tenant whose presence an event asks for, else it says what is wrong.
func (c *client) present(e *socketio.Event) (tenant string, ok bool) {
	id, ok := c.tenantOf(e)
	if joined := c.tenants.all(); !ok && len(joined) == 1 {
		id = vocabulary.NewID(joined[0])
	}
	if tenant, ok = c.tenants.get(id.Text); ok {
		return tenant, true
	}
	tenant, err := c.atHome(id.Text)
	switch {
	case err == nil:
		return tenant, true
	case errors.Is(err, errNotHome):
		c.fail(e, failNotJoined)
	case errors.Is(err, access.ErrRefused):
		c.fail(e, failForbidden)
	default:
		c.b.log.Warn().Err(err).Str("socket", c.socket.ID()).
			Msg("whether a user may see who is online could not be decided")
		c.fail(e, failUnavailable)
	}
	return "", false
}

// isTenant reports whether an id is that of a tenant the client is in, or that its token names.
func (c *client) isTenant(id string) bool {
	_, joined := c.tenants.get(id)
	return joined || id == c.who.Tenant
}

// listOnline answers with the ids of those online: in the ack where one is wanted, else as an
// event.
func (c *client) listOnline(e *socketio.Event) {
	tenant, ok := c.present(e)
	if !ok {
		return
	}
	if list := c.online(tenant); !e.Ack(list) {
		c.tellList(vocabulary.OnlineUsers, tenant, list)
	}
}

// listPresence answers with how everybody is: the users that the event names, else all.
func (c *client) listPresence(e *socketio.Event) {
	users := vocabulary.UserIDs(e.Args)
	if id, ok := vocabulary.Positional(e.Args); ok && !c.isTenant(id) {
		users, e.Args = []string{id}, nil // a user that is named alone; the tenant is then not named
	}
	tenant, ok := c.present(e)
	if !ok {
		return
	}
	all := c.snapshot(tenant)
	if len(users) > 0 {
		all = slices.DeleteFunc(all, func(p presence.Change) bool { return !slices.Contains(users, p.Who.UserID) })
	}
	if list := presenceList(all); !e.Ack(list) {
		c.tellList(vocabulary.PresenceSnapshot, tenant, list)
	}
}

// tellOnline tells the client who is online in a tenant, and how.
func (c *client) tellOnline(tenant string) {
	c.tellList(vocabulary.OnlineUsers, tenant, c.online(tenant))
	c.tellList(vocabulary.PresenceSnapshot, tenant, presenceList(c.snapshot(tenant)))
}

func (c *client) tellList(event vocabulary.Event, tenant string, list json.RawMessage) {
	o := c.occasion(event)
	o.List, o.Tenant = list, vocabulary.NewID(tenant)
	c.say(o)
}

func (c *client) snapshot(tenant string) []presence.Change {
	if c.b.presence == nil {
		return nil
	}
	return c.b.presence.Snapshot(tenant)
}

func (c *client) online(tenant string) json.RawMessage {
	users := []string{}
	if c.b.presence != nil {
		users = c.b.presence.Users(tenant)
	}
	list, err := json.Marshal(users)
	if err != nil {
		panic("bridge: user ids can't be marshaled: " + err.Error())
	}
	return list
}
