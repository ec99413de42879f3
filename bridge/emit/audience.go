package emit

import (
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// Audience is who an event concerns: rooms by kind, as far as they are known.
type Audience struct {
	Conversation, Tenant, User []string   // names of rooms
	Sender                     []string   // rooms of the one who caused it
	Except                     []string   // sockets, and rooms of sockets, that must not get it in any case
	Remote                     bool       // another node heard of it, and reports it to the application
	Row                        bool       // it comes of a row; else of typing, presence or a state, which every node emits
	Place                      feed.Place // of the row, in what the leader passes on
	Nth                        uint64     // among the events of that row
}

// Rooms names the rooms of a kind of audience.
func (a Audience) Rooms(to vocabulary.Audience) []string {
	rooms := make([]string, 0, 4)
	if to&vocabulary.ToConversation != 0 {
		rooms = append(rooms, a.Conversation...)
	}
	if to&vocabulary.ToTenant != 0 {
		rooms = append(rooms, a.Tenant...)
	}
	if to&vocabulary.ToUser != 0 {
		rooms = append(rooms, a.User...)
	}
	return rooms
}

// Without returns the audience less the conversations' and tenants' rooms of another.
func (a Audience) Without(other Audience) Audience {
	not := func(rooms, others []string) []string {
		return slices.DeleteFunc(slices.Clone(rooms), func(room string) bool { return slices.Contains(others, room) })
	}
	a.Conversation, a.Tenant = not(a.Conversation, other.Conversation), not(a.Tenant, other.Tenant)
	return a
}

// Rooms that no client enters by name: theirs begin with a byte that no such name has.
const (
	// WaitingRoom is the room of the sockets that have yet to authenticate. What goes to everybody
	// leaves them out.
	WaitingRoom = "\x00waiting"

	userPrefix  = "\x00user:"
	stylePrefix = "\x00style:"
)

// UserRoom is the room of all sockets of one user.
func UserRoom(user string) string { return userPrefix + user }

// StyleRoom is the room of the sockets that hear a style.
func StyleRoom(s vocabulary.Style) string { return stylePrefix + s.String() }

// RoomName is the name of the room of one conversation or tenant.
func RoomName(room config.Room, id string) string { return strings.Replace(room.Name, "{id}", id, 1) }
