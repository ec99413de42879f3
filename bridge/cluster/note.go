package cluster

import (
	"encoding/json"
	"slices"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

// noteEvent is the event by which nodes send notes.
const noteEvent = "supabridge"

// noteKind says what a note is about.
type noteKind string

const (
	noteTyping     noteKind = "typing"
	noteStopped    noteKind = "stopped"
	noteEnter      noteKind = "enter"
	noteLeave      noteKind = "leave"
	noteRead       noteKind = "read"
	noteDisconnect noteKind = "disconnect"

	noteHello noteKind = "hello" // a node is there, or is there again, and needs to know who is present
	noteBeat  noteKind = "beat"  // a sign of life
	noteAsk   noteKind = "ask"   // another node is to say who is present there
	noteWhole noteKind = "whole" // a part of the answer
	noteBye   noteKind = "bye"   // a node stops
	noteStyle noteKind = "style" // browsers at that node hear a style of the vocabulary
	noteOffer noteKind = "offer" // a row that was just stored, for the leader's feed
	noteMark  noteKind = "mark"  // the leader is to say how it stands (cluster.changes: leader)

	noteRooms      noteKind = "rooms"       // which rooms came to be occupied or vacated at a node
	noteRoomsAsk   noteKind = "rooms_ask"   // another node is to say which are occupied there
	noteRoomsWhole noteKind = "rooms_whole" // a part of the answer
)

// note is what bridges send each other, as JSON. A node ignores fields and kinds that it doesn't
// know: versions may be mixed.
type note struct {
	Node string   `json:"node"`
	To   string   `json:"to,omitempty"` // a node; empty: all
	Kind noteKind `json:"kind"`

	Conversation string          `json:"conversation,omitempty"`
	Spelled      json.RawMessage `json:"spelled,omitempty"` // the conversation as the client wrote it
	Messages     json.RawMessage `json:"messages,omitempty"`
	Whom         json.RawMessage `json:"whom,omitempty"`
	Style        string          `json:"style,omitempty"`
	Table        string          `json:"table,omitempty"`
	Action       feed.Action     `json:"action,omitempty"`
	Row          json.RawMessage `json:"row,omitempty"`
	attendance

	// Serial numbers a node's notes of presence. In notes of other kinds it is that of the last one of
	// presence.
	Serial uint64       `json:"serial"`
	All    []attendance `json:"all,omitempty"`
	Part   int          `json:"part,omitempty"`
	Last   bool         `json:"last,omitempty"`

	// RoomsSerial does the same for notes of rooms.
	RoomsSerial uint64   `json:"rooms_serial,omitempty"`
	Occupied    []string `json:"occupied,omitempty"`
	Vacated     []string `json:"vacated,omitempty"`

	Leads bool `json:"leads,omitempty"` // the node leads, or stands in
}

// spelled is the conversation as the client wrote it; a node of another version may not say.
func (n note) spelled() vocabulary.ID {
	if len(n.Spelled) == 0 {
		return vocabulary.NewID(n.Conversation)
	}
	return vocabulary.ID{Text: n.Conversation, JSON: n.Spelled}
}

// socket is the key that the socket has here.
func (n note) socket() string { return remoteKey(n.Node, n.Socket) }

// maxNoted bounds a name in a note, in bytes. Bridges have none that long. Others who can publish
// in Redis shall not fill the memory of bridges.
const maxNoted = 4096

// sound reports whether a note may be a bridge's.
func (n note) sound() bool {
	return n.Node != "" && len(n.Node) <= maxNoted && len(n.Conversation) <= maxNoted &&
		len(n.Spelled) <= maxNoted && n.attendance.sound() && !slices.ContainsFunc(n.All, attendance.unsound)
}

// attendance is a user's socket in a tenant.
type attendance struct {
	Tenant string `json:"tenant,omitempty"`
	Socket string `json:"socket,omitempty"`
	User   string `json:"user,omitempty"`
	Name   string `json:"name,omitempty"`
	Home   string `json:"home,omitempty"`
	Word   string `json:"word,omitempty"` // the status that the user chose; of one that leaves, goodbye or nothing

	Expelled bool `json:"expelled,omitempty"` // of one that leaves: the user may not be in the tenant any more
}

// wordGoodbye is the word of a note about a socket whose client said that it goes.
const wordGoodbye = "goodbye"

func attendanceOf(tenant, socket string, who *auth.Identity, word string) attendance {
	return attendance{Tenant: tenant, Socket: socket, User: who.UserID, Name: who.Name, Home: who.Tenant, Word: word}
}

func (a attendance) sound() bool {
	return len(a.Tenant)+len(a.Socket)+len(a.User)+len(a.Name)+len(a.Home)+len(a.Word) <= maxNoted
}

func (a attendance) unsound() bool { return !a.sound() }

func (a attendance) who() *auth.Identity {
	return &auth.Identity{UserID: a.User, Name: a.Name, Tenant: a.Home}
}

// reason is why a socket leaves.
func (a attendance) reason() Reason {
	switch {
	case a.Expelled:
		return Revoked
	case a.Word == wordGoodbye:
		return Goodbye
	}
	return Lost
}

// send sends a note. A note that can't be sent is lost, and counted by the adapter. If it was about
// presence, the next note shows that it is missing.
func (c *Cluster) send(n note) {
	n.Node, n.Leads = c.node, c.leads() || c.standsIn.Load()
	_ = c.io.ServerSideEmit(noteEvent, n)
}

// Typing informs the other nodes that a user types in a conversation (on), or stopped, in a socket
// of this node.
func (c *Cluster) Typing(conversation vocabulary.ID, socket string, who *auth.Identity, on bool) {
	if c.alone() {
		return
	}
	kind := noteStopped
	if on {
		kind = noteTyping
	}
	c.send(note{Kind: kind, Conversation: conversation.Text, Spelled: conversation.JSON,
		attendance: attendanceOf("", socket, who, "")})
}

// Read informs them that a user has read messages of a conversation.
func (c *Cluster) Read(conversation vocabulary.ID, who *auth.Identity, messages json.RawMessage) {
	if c.alone() {
		return
	}
	c.send(note{Kind: noteRead, Conversation: conversation.Text, Spelled: conversation.JSON, Messages: messages,
		attendance: attendanceOf("", "", who, "")})
}

// StyleHeard informs them that sockets of this node hear a style.
func (c *Cluster) StyleHeard(s vocabulary.Style) {
	if !c.alone() {
		c.send(note{Kind: noteStyle, Style: s.String()})
	}
}

// Disconnect has them close connections.
func (c *Cluster) Disconnect(whom publish.Whom) {
	if c.alone() {
		return
	}
	if text, err := json.Marshal(whom); err == nil {
		c.send(note{Kind: noteDisconnect, Whom: text})
	}
}

// Enter informs them that a user's socket of this node is present in a tenant, and of the status
// that the user chose, if any.
func (c *Cluster) Enter(tenant, socket string, who *auth.Identity, status string) {
	c.sendPresence(noteEnter, tenant, socket, who, status, false)
}

// Leave informs them that it is not any more.
func (c *Cluster) Leave(tenant, socket string, who *auth.Identity, why Reason) {
	word := ""
	if why == Goodbye {
		word = wordGoodbye
	}
	c.sendPresence(noteLeave, tenant, socket, who, word, why == Revoked)
}

func (c *Cluster) sendPresence(kind noteKind, tenant, socket string, who *auth.Identity, word string, expelled bool) {
	if c.alone() {
		return
	}
	a := attendanceOf(tenant, socket, who, word)
	a.Expelled = expelled
	c.sending.Lock()
	defer c.sending.Unlock()
	c.serial++
	c.send(note{Kind: kind, attendance: a, Serial: c.serial})
}

// sendHeartbeat sends a sign of life.
func (c *Cluster) sendHeartbeat() {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.rooms.mu.Lock()
	defer c.rooms.mu.Unlock()
	c.send(note{Kind: noteBeat, Serial: c.serial, RoomsSerial: c.rooms.serial})
}

// receive takes a note of another node, on the adapter's goroutine.
func (c *Cluster) receive(e *socketio.Event) {
	var n note
	if err := e.Decode(0, &n); err != nil || n.Node == c.node || !n.sound() {
		return // not a bridge's
	}
	if n.To != "" && n.To != c.node {
		c.heardFrom(n)
		return
	}
	h := c.opts.Handler
	switch n.Kind {
	case noteTyping, noteStopped:
		if n.Conversation != "" && n.User != "" {
			h.Typing(n.spelled(), n.socket(), n.who(), n.Kind == noteTyping)
		}
	case noteRead:
		if n.Conversation != "" {
			h.Read(n.spelled(), n.who(), n.Messages)
		}
	case noteDisconnect:
		var whom publish.Whom
		if json.Unmarshal(n.Whom, &whom) == nil && whom != (publish.Whom{}) {
			h.Disconnect(whom)
		}
	case noteHello:
		for _, s := range vocabulary.Styles() {
			if c.opts.Emitter.Used(s) {
				c.send(note{Kind: noteStyle, To: n.Node, Style: s.String()})
			}
		}
	case noteOffer:
		c.changes.takeOffer(feed.BusOffer{Table: n.Table, Action: n.Action, Record: n.Row})
	case noteStyle:
		if s, ok := vocabulary.StyleOf(n.Style); ok {
			h.StyleHeard(s)
		}
	case noteMark:
		c.changes.sendMarkSoon()
	}
	c.heardFrom(n)
}
