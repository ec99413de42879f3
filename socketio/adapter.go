package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Adapter joins the servers of several processes ("nodes") to one: what one of them sends to rooms
// reaches the rooms' members on all. It only carries messages; what they mean is the server's
// business. Without an adapter a server is alone. Package redisadapter has one that Node servers
// understand. All methods but Nodes are called by whoever emits, joins or connects, also by
// handlers and at the same time by several goroutines, and may not wait.
type Adapter interface {
	// Start is called once, by [NewServer]. From then on the adapter may call the host.
	Start(Host) error
	// Open and Shut tell that a namespace has come into being or has gone: messages for it are wanted
	// between the two.
	Open(namespace string)
	Shut(namespace string)
	// Publish sends a message to all other nodes, or only to that named by its To.
	Publish(*NodeMessage) error
	// Nodes returns how many other nodes have the namespace: that many answers are awaited to a
	// question. It may ask them.
	Nodes(ctx context.Context, namespace string) (int, error)
	// Close is called once, by [Server.Close] or [Server.Shutdown]. The host must not be called after
	// it has returned.
	Close() error
}

// Host is the server that an adapter works for.
type Host interface {
	// Node is the id of this node, which messages to it alone name.
	Node() string
	// Deliver takes a message of another node. Those of one node must come in the order it sent them.
	Deliver(*NodeMessage)
	// Occupied says whether anybody is in the room on this node, or is awaited back there. The id of a
	// socket is a room too.
	Occupied(namespace, room string) bool
}

// RoomWatcher is an [Adapter] that has to know which rooms there are on this node. The rooms that
// sockets have for themselves are not told. Neither method may wait.
type RoomWatcher interface {
	RoomOpened(namespace, room string)
	RoomClosed(namespace, room string)
}

// Follower is an [Adapter] that can tell whether this node is behind. [Server.Shutdown] asks it
// before it closes connections, so that each gets what was sent to it before.
type Follower interface {
	// CaughtUp waits until every message that was published before the call has been delivered.
	// Errors: ctx's, and why that can't be told.
	CaughtUp(ctx context.Context) error
}

// NodeMessage is what nodes tell each other.
type NodeMessage struct {
	// From is the node that sends it; something that is no node, such as an emitter, has a name that
	// nobody answers to, or none. To is the node that it is for, empty for all.
	From string `json:"from"`
	To   string `json:"to,omitempty"`
	// ID links an answer to its question. A KindEmit or KindServer without one wants no answer.
	ID   string      `json:"id,omitempty"`
	Kind MessageKind `json:"kind"`

	Namespace string   `json:"namespace"`
	Rooms     []string `json:"rooms,omitempty"`
	Except    []string `json:"except,omitempty"`
	Volatile  bool     `json:"volatile,omitempty"`
	Plain     bool     `json:"plain,omitempty"` // not to be compressed
	// Timeout is how long acknowledgements of clients are waited for; 0 means that the sender did not
	// say.
	Timeout time.Duration `json:"timeout,omitempty"`

	// Args is the JSON array of an event, name first, or of an answer; Attachments are the bytes its
	// placeholders stand for.
	Args        json.RawMessage `json:"args,omitempty"`
	Attachments [][]byte        `json:"attachments,omitempty"`
	// Names are the rooms to join or leave, or those there are.
	Names []string `json:"names,omitempty"`
	// Close ends whole connections.
	Close bool `json:"close,omitempty"`
	// Sockets answer a question for sockets.
	Sockets []RemoteSocket `json:"sockets,omitempty"`
	// Count is how many clients have got an event that they are to acknowledge.
	Count int `json:"count,omitempty"`
	// PID is the session that is asked for or was taken; Left is how far the node that saved it had
	// come then.
	PID  string `json:"pid,omitempty"`
	Left string `json:"left,omitempty"`

	// Serial numbers an event that a [Keeper] is to bring back to this node: see [Log]. 0 where it
	// need not.
	Serial uint64 `json:"-"`
	// At is where a Keeper has the message in its order; zero for one that has no place there.
	At Position `json:"-"`
}

// MessageKind says what a [NodeMessage] asks for or answers.
type MessageKind string

// The kinds of messages, and of the answers to them.
const (
	KindEmit       MessageKind = "emit"       // KindCount follows, then a KindAck for each client, if there is an ID
	KindJoin       MessageKind = "join"       //
	KindLeave      MessageKind = "leave"      //
	KindDisconnect MessageKind = "disconnect" //
	// an event for the servers themselves; answered by KindServerAnswer if there is an ID
	KindServer MessageKind = "server"
	KindFetch  MessageKind = "fetch" // answered by KindSockets
	KindRooms  MessageKind = "rooms" // answered by KindRoomNames
	// a client has come to another node; answered by KindGiven, by the node that had its session and has saved it
	KindClaim MessageKind = "claim"
	KindTaken MessageKind = "taken" // another node has taken the session

	KindCount        MessageKind = "count"
	KindAck          MessageKind = "ack"
	KindServerAnswer MessageKind = "server_answer"
	KindSockets      MessageKind = "sockets"
	KindRoomNames    MessageKind = "room_names"
	KindGiven        MessageKind = "given"
)

// Answers says whether messages of a kind answer a question.
func (k MessageKind) Answers() bool {
	switch k {
	case KindCount, KindAck, KindServerAnswer, KindSockets, KindRoomNames, KindGiven:
		return true
	}
	return false
}

// RemoteSocket describes a socket on any node.
type RemoteSocket struct {
	ID    string   `json:"id"`
	Node  string   `json:"node,omitempty"`
	Rooms []string `json:"rooms"`
	// Data is what [Socket.SetData] stored, null if it can't be encoded.
	Data json.RawMessage `json:"data,omitempty"`
	// Handshake is an object as the Node server has it: headers, time, address, xdomain, secure,
	// issued, url, query, auth. What proves who a client is stays on the client's node: auth is empty,
	// and the headers lack Authorization and Cookie.
	Handshake json.RawMessage `json:"handshake,omitempty"`
}

// ErrIncomplete means that not every node has answered in time. What came is returned along with
// it.
var ErrIncomplete = errors.New("not every node has answered")
