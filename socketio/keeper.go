package socketio

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Keeper is an [Adapter] that keeps what it carries for a while, in one order that is the same for
// all nodes, and keeps the sessions of clients that are away. A server with one, and with
// [Options.Recovery], recovers clients that come back to another node than they left.
type Keeper interface {
	Adapter
	// Keep is called once, before Start, by a server that recovers sockets. The adapter tells the log
	// how far it has read, and hands it what was said in the window before it began. It returns false
	// where it does not keep anything, as it is set up. A server that recovers nobody does not call
	// it: its own messages then need not come back.
	Keep(log Log, window time.Duration) bool
	// Save stores the session of a client that has gone away, for as long as its Expires says, in
	// place of an earlier one. It doesn't wait. done is called once that has been tried, by another
	// goroutine: with false if the session is certainly not stored.
	Save(s *KeptSession, done func(stored bool)) error
	// Take removes a session and returns it; nil if there is none. Of several nodes that ask only one
	// gets it. It sees what this node has saved before. After an error, or when ctx has ended, the
	// session is still there.
	Take(ctx context.Context, pid string) (*KeptSession, error)
	// Drop removes the session that a Save has stored, if it is still that: by its token. It doesn't
	// wait, and goes on trying as long as the Keeper is away. done is called by another goroutine with
	// whether it was there.
	Drop(pid, token string, done func(there bool))
}

// Log is what a [Keeper] tells a server beside messages. All but Dropped and Away are called by one
// goroutine at a time, which is also the one that delivers messages with a position.
type Log interface {
	// Begin says, once, that everything after a position is going to be delivered.
	Begin(at Position)
	// Past hands over the events that a namespace was sent before, oldest first. Everything after the
	// position is among them, up to where the namespace was opened or reading began. It may be called
	// by any goroutine, and is called again after Gap for nobody.
	Past(namespace string, events []*NodeMessage, after Position)
	// Returned says that an event of this node has come back: what was published with that number. An
	// earlier one that has not come back is lost.
	Returned(serial uint64, at Position)
	// Reach says that everything up to a position has been delivered.
	Reach(at Position)
	// Gap says that what was sent before a position, after what was delivered, is lost.
	Gap(at Position)
	// Dropped says that an event of this node is not going to be carried.
	Dropped(serial uint64)
	// Away says that events will not come back for the time being, Back that they do: the server
	// delivers its own by itself between the two. In the beginning they don't.
	Away()
	Back()
}

// Position is a place in the order that a [Keeper] gives messages: a time in milliseconds since
// 1970, and a number among the messages of that time, like the ID of an entry in a Redis stream.
// The zero value is before all messages.
type Position struct{ Time, Number uint64 }

// String gives the position as Redis writes it.
func (p Position) String() string {
	return string(strconv.AppendUint(append(strconv.AppendUint(nil, p.Time, 10), '-'), p.Number, 10))
}

// Compare is negative where p comes before q, 0 where they are the same.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.Time, q.Time); c != 0 {
		return c
	}
	return cmp.Compare(p.Number, q.Number)
}

// Before is the position right before p.
func (p Position) Before() Position {
	switch {
	case p.Number > 0:
		return Position{p.Time, p.Number - 1}
	case p.Time > 0:
		return Position{p.Time - 1, 1<<64 - 1}
	}
	return p
}

var errPosition = errors.New("not a position")

// ParsePosition is the reverse of [Position.String].
func ParsePosition(text string) (Position, error) {
	before, after, ok := strings.Cut(text, "-")
	if !ok {
		return Position{}, fmt.Errorf("%q: %w", text, errPosition)
	}
	t, err := strconv.ParseUint(before, 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("%q: %w", text, errPosition)
	}
	n, err := strconv.ParseUint(after, 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("%q: %w", text, errPosition)
	}
	return Position{t, n}, nil
}

// KeptSession is what is kept of a client that is away.
type KeptSession struct {
	// PID is the private id, which its client alone knows, SID the id of its socket.
	PID, SID string
	// Rooms are those it is in, its own among them.
	Rooms []string
	// Data is what the socket's data is saved as: a JSON object.
	Data json.RawMessage
	// Expires is how long it is to be kept, or is still going to be.
	Expires time.Duration
	// More is what servers of this package know besides, a JSON object; nil in a session that another
	// kind of server has saved.
	More json.RawMessage
	// Token tells what was stored from what others store under the same id. Save sets it.
	Token string
	// Exclusive keeps it from other kinds of servers, which would lose something.
	Exclusive bool
}
