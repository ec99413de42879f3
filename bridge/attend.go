package bridge

import (
	"encoding/json"
	"slices"

	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

// appear counts the socket towards its user's presence in a tenant; false where presence is off or nobody knows whose socket it is.
func (c *client) appear(tenant string) bool {
	switch {
	case c.b.presence == nil || c.who.UserID == "":
		return false
	case c.status.get() != "":
		c.b.presence.say(tenant, c.key, c.who, c.status.get())
	default:
		c.b.presence.enter(tenant, c.key, c.who)
	}
	c.b.cluster.attend(noteEnter, attendanceOf(tenant, c.key, c.who, c.status.get()))
	return true
}

// vanish takes that back. Of a tenant never entered it takes back nothing.
func (c *client) vanish(tenant string) { c.part(tenant, c.who) }

// saidGoodbye is the word of a note about a socket whose client said that it goes.
const saidGoodbye = "goodbye"

// part is vanish for whoever the socket is said to be.
func (c *client) part(tenant string, who *Identity) {
	if c.b.presence != nil {
		leave, word := c.b.presence.leave, ""
		if c.goodbye.Load() {
			leave, word = c.b.presence.depart, saidGoodbye
		}
		if leave(tenant, c.key, who) {
			c.b.cluster.attend(noteLeave, attendanceOf(tenant, c.key, who, word))
		}
	}
}

// joinUser answers a join of a user's room, which their sockets are in without asking and others never.
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
	tenants := c.tenants.all()
	if c.home != "" && !slices.Contains(tenants, c.home) {
		tenants = append(tenants, c.home)
	}
	for _, tenant := range tenants {
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
	tenant, ok = c.tenants.get(id.Text)
	if !ok && c.who.Verified && c.who.Tenant != "" && id.Text == c.who.Tenant {
		tenant, ok = c.who.Tenant, true
	}
	if !ok {
		c.fail(e, failNotJoined)
	}
	return tenant, ok
}

// isTenant tells whether an id is that of a tenant the client is in.
func (c *client) isTenant(id string) bool {
	_, joined := c.tenants.get(id)
	return joined || id == c.who.Tenant
}

// listOnline answers with the ids of those online: in the ack where one is wanted, else as an event.
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
		all = slices.DeleteFunc(all, func(a attended) bool { return !slices.Contains(users, a.who.UserID) })
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

func (c *client) snapshot(tenant string) []attended {
	if c.b.presence == nil {
		return nil
	}
	return c.b.presence.snapshot(tenant)
}

func (c *client) online(tenant string) json.RawMessage {
	users := []string{}
	if c.b.presence != nil {
		users = c.b.presence.list(tenant)
	}
	list, err := json.Marshal(users)
	if err != nil {
		panic("bridge: user ids can't be marshaled: " + err.Error())
	}
	return list
}
