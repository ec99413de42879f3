package load

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// Options say what load there is to be. URL and Duration are required.
type Options struct {
	// URL is the bridge's, as http://127.0.0.1:3001, and Path that of its Socket.IO endpoint; empty is
	// /socket.io/.
	URL, Path string
	// Connections is how many browsers there are, AtOnce how many connect at the same time; 0 is 50.
	Connections, AtOnce int
	// Tokens are of users who may enter the conversations, used in turn. None is for a bridge that
	// lets everybody in.
	Tokens []string
	// Conversations are the ids of those that are joined and written to, browser n the n-th in turn.
	Conversations []string
	// Room is the name of a conversation's room with {id} in it; empty is conversation:{id}.
	Room string
	// Messages are published a second, over all conversations; Typing is how many browsers begin to
	// type a second, which only other users are told of; Churn how many connections break a second and
	// come back at once.
	Messages, Typing, Churn float64
	// Payload is the length of a message's text, in bytes.
	Payload int
	// Secret of the bridge's publish.secret, and the path of publish.path; empty is /api/publish.
	// Without a secret nothing is published.
	Secret, PublishPath string
	// Duration is how long the load lasts once all are connected.
	Duration time.Duration
	// Progress is told about once a second; it may be nil. It must not wait.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	Phase     string // connecting, running
	Done      float64
	Connected int
	Point     Point
}

// ErrNotOwn means that the address is not of this machine.
var ErrNotOwn = errors.New("the host is not this machine")

// Own tells whether an address is of this machine, by its number or the name localhost: ErrNotOwn
// in the chain where it is not. A name that only resolves to loopback is not trusted to go on doing
// so.
func Own(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("expected an address such as http://127.0.0.1:3001, found %q", address)
	}
	if u.Hostname() == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNotOwn, u.Host)
}
